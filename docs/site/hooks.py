"""What MkDocs calls while it builds the site."""

from pathlib import Path


def on_config(config):
    """Put the API's pages into the menu, and leave out of it what this version does not have."""
    folder = Path(config["docs_dir"])
    api = sorted((folder / "api").glob("*.md"), key=lambda path: (path.stem.count("."), path.stem))
    menu = []
    for section in config["nav"]:
        ((title, content),) = section.items()
        if title == "API":
            content = [{p.stem.removeprefix("fcos.modeling.fcos."): f"api/{p.name}"} for p in api]
        elif isinstance(content, list):
            content = [
                page for page in content if all((folder / p).exists() for p in page.values())
            ]
        menu.append({title: content})
    config["nav"] = menu
    return config
