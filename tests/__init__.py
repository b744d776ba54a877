"""Tests: folders mirror src/podpass; helpers are imported as `tests.FOLDER.MODULE`."""
