"""Tables of a lab file that are of what was measured and where it goes: one module for each."""
