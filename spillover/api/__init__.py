"""Wire types of everything Spillover reads or writes. No I/O and no logic beyond parsing."""
