"""The sample images of Microsoft's documentation: one program per language, built on this machine."""
