"""Proposal generators: from feature maps to regions that may hold an object."""

from detectron2._missing import missing_names
from detectron2.modeling.proposal_generator.build import (
    PROPOSAL_GENERATOR_REGISTRY,
    build_proposal_generator,
)

__all__ = ["PROPOSAL_GENERATOR_REGISTRY", "build_proposal_generator"]
__getattr__ = missing_names(__name__)
