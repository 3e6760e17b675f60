"""How the storyteller was trained; runs on any folder of text files."""
