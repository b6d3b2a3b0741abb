"""Loaded by pytest wherever detzoo is installed: failed checks of the kit then show the values they compared.

Light on purpose: every pytest run on the machine imports it.
"""

import pytest

pytest.register_assert_rewrite("detzoo.testing")
