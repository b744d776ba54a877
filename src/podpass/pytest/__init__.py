"""The pytest plugin: an instance of podpass for the tests of another project.

It starts when a test first uses one of its fixtures. Importing the plugin imports nothing else of podpass.
`docs/develop/pytest.md` shows its use.
"""
