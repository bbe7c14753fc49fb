"""Pure decisions: which unit and nodes a pod gets, and why others were skipped."""
