# SPDX-License-Identifier: Apache-2.0
"""Facts and code that more than one package of EulerNet needs: names, limits, geometry, files and the command's root.

Imports neither torch nor OpenCV, and none of the project's other packages.
"""
