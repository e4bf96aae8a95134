"""The pages about a run: a file that is written, and one that is served."""

from ros2_actionnet.report.page import ReportPage
from ros2_actionnet.report.recording import RecordingPage

__all__ = ["RecordingPage", "ReportPage"]
