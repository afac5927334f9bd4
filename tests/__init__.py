"""A package, since sleap-io installs one called tests, which would stand before this folder."""
