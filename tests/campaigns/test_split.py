"""Control group: the hash against hashlib and SQL, nesting, propensities that sum to one, power by simulation."""

import hashlib

import duckdb
import numpy as np
import pandas as pd
import pytest
import sqlalchemy
from statsmodels.stats.power import NormalIndPower

from crm_models.campaigns.split import (
    EXPLORE,
    HOLDOUT,
    PLAN,
    Split,
    customers_needed,
    detectable,
    explored,
    propensity,
    unit_hash,
)
from crm_models.core.errors import ConfigError

IDS = np.array([f"C{k:06d}" for k in range(4_000)], dtype=object)


def test_the_hash_is_the_first_32_bits_of_md5_of_salt_and_id():
    for customer in ("C000001", "é", "a:b"):
        expected = int(hashlib.md5(f"s:{customer}".encode()).hexdigest()[:8], 16) / 2**32
        assert unit_hash("s", [customer])[0] == expected


def test_shares_are_met_nest_and_do_not_depend_on_order():
    small, large = Split(salt="s", holdout=0.1), Split(salt="s", holdout=0.25, explore=0.2)
    arms = large.arms(IDS)
    assert np.bincount(arms, minlength=3) / len(IDS) == pytest.approx([0.55, 0.25, 0.2], abs=0.03)
    assert set(IDS[small.arms(IDS) == HOLDOUT]) <= set(IDS[arms == HOLDOUT])
    order = np.random.default_rng(0).permutation(len(IDS))
    assert (large.arms(IDS[order]) == arms[order]).all()
    other = Split(salt="t", holdout=0.25).arms(IDS)
    assert np.corrcoef(other == HOLDOUT, arms == HOLDOUT)[0, 1] == pytest.approx(0, abs=0.06)


SALTS = ("spring", "it's", "salt: ü", "back\\slash")


@pytest.mark.parametrize("salt", SALTS)
def test_duckdb_repeats_the_assignment(salt):
    split = Split(salt=salt, holdout=0.25)
    table = pd.DataFrame({"customer_id": [*IDS[:400], "é", "a'b", "日本"]}, dtype="str")
    held = duckdb.sql(f'SELECT {split.sql("DuckDB")} AS held FROM "table"').df()["held"]
    assert held.tolist() == (split.arms(table["customer_id"]) == HOLDOUT).tolist()


def test_postgresql_repeats_the_assignment(postgres):
    ids = [*IDS[:400], "é", "a'b", "日本"]
    values = ", ".join("('" + customer.replace("'", "''") + "')" for customer in ids)
    engine = sqlalchemy.create_engine(postgres, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        for salt in SALTS:
            split = Split(salt=salt, holdout=0.25)
            query = f"SELECT {split.sql('PostgreSQL')} FROM (VALUES {values}) AS t(customer_id)"
            held = [row[0] for row in connection.exec_driver_sql(query)]
            assert held == (split.arms(ids) == HOLDOUT).tolist()


def test_bigquery_and_snowflake_take_the_same_32_bits_by_their_published_functions():
    # No such server runs here: MD5 and TO_HEX of BigQuery give the same 32 digits as Snowflake's MD5; both then read
    # the first eight as a number, from '0x...' and by the format XXXXXXXX.
    assert Split(salt="it's", holdout=0.25).sql("BigQuery") == (
        "CAST(CONCAT('0x', SUBSTR(TO_HEX(MD5(CONCAT('it\\'s', ':', customer_id))), 1, 8)) AS INT64)"
        " / 4294967296.0 < 0.25"
    )
    assert Split(salt="it's", holdout=0.25).sql("Snowflake") == (
        "TO_NUMBER(SUBSTR(MD5('it''s' || ':' || customer_id), 1, 8), 'XXXXXXXX') / 4294967296.0 < 0.25"
    )


def test_explored_actions_are_allowed_and_uniform_over_them_and_none():
    allowed = np.tile([True, False, True], (len(IDS), 1))
    allowed[0] = False
    drawn = explored("s", IDS, allowed)
    assert drawn[0] == -1
    assert set(drawn) == {-1, 0, 2}
    assert np.bincount(drawn + 1, minlength=4)[[0, 1, 3]] / len(IDS) == pytest.approx([1 / 3] * 3, abs=0.03)


def test_propensities_sum_to_one_and_are_the_shares_that_are_drawn():
    split = Split(salt="s", holdout=0.1, explore=0.3)
    choices = [-1, 0, 2]
    n = np.array([3])
    p = [float(propensity(split, np.array([a]), np.array([2]), n)[0]) for a in choices]
    assert p == pytest.approx([0.1 + 0.1, 0.1, 0.1 + 0.6])
    assert sum(p) == pytest.approx(1)
    arms, allowed = split.arms(IDS), np.tile([True, False, True], (len(IDS), 1))
    given = np.where(arms == PLAN, 2, np.where(arms == EXPLORE, explored("s", IDS, allowed), -1))
    assert [np.mean(given == a) for a in choices] == pytest.approx(p, abs=0.03)


def test_power_is_reached_in_simulation_and_agrees_with_statsmodels_at_equal_variances():
    n_c, n_t, share = 600, 3_000, 0.3
    d = detectable(n_c, n_t, share)
    rng = np.random.default_rng(1)
    c, t = rng.binomial(n_c, share, 20_000) / n_c, rng.binomial(n_t, share + d, 20_000) / n_t
    z = (t - c) / np.sqrt(c * (1 - c) / n_c + t * (1 - t) / n_t)
    assert np.mean(z > 1.96) == pytest.approx(0.8, abs=0.012)
    total = customers_needed(d, share, n_c / (n_c + n_t))
    assert total == pytest.approx(n_c + n_t, abs=2)
    # At a share where both variances are nearly those of one half.
    d = detectable(50_000, 50_000, 0.5)
    effect = d / 0.5
    assert NormalIndPower().power(effect, 50_000, 0.05, ratio=1) == pytest.approx(0.8, abs=0.001)


def test_nobody_to_compare_with_means_nothing_is_detectable():
    assert np.isnan(detectable(0, 100, 0.5))
    assert np.isnan(detectable(2, 2, 0.9))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"salt": ""}, "needs a salt"),
        ({"holdout": 1.0}, "holdout must be a share"),
        ({"holdout": 0.6, "explore": 0.4}, "together must leave somebody"),
        ({"horizon_days": 0}, "horizon_days must be above 0"),
        ({"reading": "often"}, "reading must be at_end or any_time"),
    ],
)
def test_a_split_that_cannot_be_is_refused(settings, expected):
    with pytest.raises(ConfigError, match=expected):
        Split(**({"salt": "s"} | settings))
