"""The interfaces of the programs that Labsite replaces: their clients carry on, but for the address."""
