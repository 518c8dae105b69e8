# SPDX-License-Identifier: Apache-2.0
"""`eulernet console`: a page on loopback that shows a stream live, scores files and watches the server.

The page is plain JavaScript in `static/`. Its pictures go through this process to the named server and nowhere else.
"""
