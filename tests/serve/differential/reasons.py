"""The differences from Triton that no general rule explains, each with what ours answers."""

# protocol and case: (our statuses, verdict, reason)
REASONS: dict[str, tuple[str, str, str]] = {}
