"""The page that shows a person what happened in a video: one HTML file that needs nothing else."""

from ros2_actionnet.report.page import ReportPage

__all__ = ["ReportPage"]
