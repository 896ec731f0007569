"""The report: what a bundle holds, as one HTML file a reviewer can read anywhere.

    contents    what the bundle and its evidence say, read once
    sections/   one file per part of the page: contents in, text, tables and drawings out
    page        the page types, and the template that makes HTML of them
Nothing here measures or judges. Docs: toolchain/docs/report.md.
"""
