"""A cluster in a folder, for the tests of the scripts."""
