"""All that a GPU has to show, in minutes, on a machine that is lent for minutes."""
