"""What the suite catches and what it leaves alone: every wrong version against every property.

``make power`` examines all mutants, bugs and correct styles, writes ``reports/power`` and fails
where a property kills nothing, a mutant survives without a reason, or a correct style loses a
point.
"""
