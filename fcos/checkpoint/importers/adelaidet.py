"""Files of AdelaiDet, whose names are ours as well."""

from fcos.checkpoint.importers.family import HEAD, Family
from fcos.checkpoint.importers.rules import Rule

FAMILY = Family(
    name="adelaidet",
    mark=r"proposal_generator\.fcos_head\.(ctrness|centerness)\.",
    rules=(
        Rule(HEAD + "ctrness.{what}", HEAD + "ctrness.{what}"),
        # AdelaiDet's own converter of the original's files leaves this name.
        Rule(HEAD + "centerness.{what}", HEAD + "ctrness.{what}"),
    ),
    kept=".*",
    dropped="pixel_mean|pixel_std",  # in files of 2020; the config has them
    note=(
        "These are names of AdelaiDet; weights published by it are licensed for non-commercial "
        "use only."
    ),
)
