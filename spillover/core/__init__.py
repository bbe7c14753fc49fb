"""Pure decisions: policy model, matching, placement, ledger. No I/O, no clock, no chance."""
