"""The report page, its pictures, and the same decision as a terminal table and as Markdown."""

from i2i_unlearn.report.page import write_report
from i2i_unlearn.report.pictures import before_after_picture
from i2i_unlearn.report.terminal_summary import summary_lines
from i2i_unlearn.report.verdict import decision_markdown

__all__ = ["before_after_picture", "decision_markdown", "summary_lines", "write_report"]
