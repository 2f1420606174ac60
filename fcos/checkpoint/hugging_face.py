"""Weights files of the Hugging Face Hub, by addresses as its own ``HfFileSystem`` takes them."""

from __future__ import annotations

from fcos.utils.errors import UserError, one_line

__all__ = ["PREFIX", "downloaded"]

PREFIX = "hf://"


def downloaded(address: str) -> str:
    """Download a file once; later calls find it in the cache of huggingface_hub.

    Args:
        address: ``hf://owner/repository/folder/file``, or ``hf://owner/repository@revision/...``.

    Returns:
        The path of the file on this machine.

    Raises:
        UserError: the address is of another form, huggingface_hub is missing, or it cannot
            download the file.
    """
    owner, repository, name = [*address.removeprefix(PREFIX).split("/", 2), "", ""][:3]
    repository, _, revision = repository.partition("@")
    if not (owner and repository and name):
        raise UserError(
            f"MODEL.WEIGHTS {address}: expected hf://owner/repository/file, with @revision behind "
            "the repository if need be."
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise UserError(
            f"MODEL.WEIGHTS {address} needs the package huggingface_hub, which is not installed: "
            "pip install huggingface_hub."
        ) from None
    try:
        return hf_hub_download(f"{owner}/{repository}", name, revision=revision or None)
    except Exception as error:  # its errors are of many types, those of the network too
        raise UserError(
            f"The weights file {address} cannot be fetched: {one_line(error)}"
        ) from None
