"""Summaries to draw come from `report_runs`, which lies beside the tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
