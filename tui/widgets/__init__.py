"""Widgets that draw safe lines. They build segments from spans and never parse markup."""
