"""The interactive SQL shell, scripts, and results as tables and files.

Only ``prompt``, ``completion``, ``highlight`` and ``history`` need prompt_toolkit; scripts and ``rasteret-sql query`` do without.
"""
