# SPDX-License-Identifier: Apache-2.0
"""Shows the attention of a network in clips: filters, gates and features (`eulernet explain`)."""
