"""The video steps: fetch, probe, convert, extract, and the reader and writer under them."""
