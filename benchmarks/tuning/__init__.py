# SPDX-License-Identifier: Apache-2.0
"""Effects of single changes of the models' configurations, compared with the shipped ones."""
