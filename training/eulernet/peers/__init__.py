# SPDX-License-Identifier: Apache-2.0
"""Other published systems for face presentation attack detection, beside EulerNet."""
