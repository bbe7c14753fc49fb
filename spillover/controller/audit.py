"""The log of the audit trail."""

import logging

audit = logging.getLogger("spillover.audit")
"""One line for each change, with its reason: a decision that differs from the last one, or a write
to a pod."""
