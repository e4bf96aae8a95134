"""The report on the actions in a video: one self-contained HTML file."""

from ros2_actionnet.report.page import ReportPage

__all__ = ["ReportPage"]
