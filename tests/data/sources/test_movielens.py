"""MovieLens in all its forms: the same ratings come out, films keep their titles, and odd files are refused."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort

FLAGS = {"Comedy": 5, "Drama": 8, "Western": 18}


def u_item(number: int, title: str, *genres: str) -> str:
    flags = ["1" if k in [FLAGS[g] for g in genres] else "0" for k in range(19)]
    return "|".join([str(number), title, "01-Jan-1995", "", "http://us.imdb.com/M/x", *flags])


FORMS = {
    "csv": {
        "ratings.csv": "userId,movieId,rating,timestamp\n1,31,4.5,964982703\n1,7,3.0,964982703\n2,7,0.5,964982931\n",
        "movies.csv": 'movieId,title,genres\n7,"Misérables, Les (1995)",Comedy|Drama\n'
        '31,Odd "One",Western\n99,Unseen,Drama\n',
    },
    "kaggle": {
        "rating.csv": '"userId","movieId","rating","timestamp"\n1,31,4.5,"2000-07-30 18:45:03"\n'
        '1,7,3.0,"2000-07-30 18:45:03"\n2,7,0.5,"2000-07-30 18:48:51"\n',
        "movie.csv": '"movieId","title","genres"\n7,"Misérables, Les (1995)","Comedy|Drama"\n'
        '31,"Odd ""One""","Western"\n'
        '99,"Unseen","Drama"\n',
    },
    "1M": {
        "ratings.dat": "1::31::4.5::964982703\n1::7::3.0::964982703\n2::7::0.5::964982931\n",
        "movies.dat": '7::Misérables, Les (1995)::Comedy|Drama\n31::Odd "One"::Western\n99::Unseen::Drama\n',
    },
    "100K": {
        "u.data": "2\t7\t0.5\t964982931\n1\t31\t4.5\t964982703\n1\t7\t3.0\t964982703\n",
        "u.item": "\n".join(
            [
                u_item(7, "Misérables, Les (1995)", "Comedy", "Drama"),
                u_item(31, 'Odd "One"', "Western"),
                u_item(99, "Unseen"),
            ]
        ),
        "u.genre": "unknown|0\n",
        "u1.base": "9\t9\t5\t874965758\n",
    },
}
FORMS["underlined"] = {
    "ratings.csv": FORMS["csv"]["ratings.csv"].replace("userId", "user_id").replace("movieId", "Movie_ID"),
    "movies.csv": FORMS["csv"]["movies.csv"].replace("movieId", "movie_id"),
}
FORMS["no header"] = {name: text.split("\n", 1)[1] for name, text in FORMS["csv"].items()}


def write(folder, files: dict[str, str], encoding: str = "utf-8"):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_bytes(text.encode(encoding))
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", FORMS)
def test_every_release_gives_the_same_cohort(tmp_path, form, encoding):
    cohort = import_cohort("movielens", [write(tmp_path / "in", FORMS[form], encoding)])
    events = cohort.interactions
    assert events[["customer_id", "action", "value"]].values.tolist() == [
        ["1", "31", 4.5],
        ["1", "7", 3.0],
        ["2", "7", 0.5],
    ]
    assert list(events["timestamp"]) == [pd.Timestamp("2000-07-30 18:45:03")] * 2 + [
        pd.Timestamp("2000-07-30 18:48:51")
    ]
    assert cohort.actions[["action", "label", "genres"]].values.tolist() == [
        ["7", "Misérables, Les (1995)", "Comedy|Drama"],
        ["31", 'Odd "One"', "Western"],
    ]
    assert not cohort.actions["repeatable"].any()
    assert "Films without ratings, left out: 1." in cohort.notes
    assert not cohort.has_labels


def test_the_older_releases_tell_who_rated(tmp_path):
    one = write(tmp_path / "1m", FORMS["1M"] | {"users.dat": "1::F::25::10::48067\n2::M::56::16::70072\n"})
    two = write(tmp_path / "100k", FORMS["100K"] | {"u.user": "1|24|M|technician|85711\n2|53|F|other|94043\n"})
    people = import_cohort("movielens", [one]).customers
    assert people[["customer_id", "age", "gender", "occupation"]].values.tolist() == [
        ["1", 25, "F", "10"],
        ["2", 56, "M", "16"],
    ]
    assert import_cohort("movielens", [two]).customers["occupation"].tolist() == ["technician", "other"]


def test_a_zip_as_downloaded_is_read_like_its_folder(tmp_path):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        for name, text in FORMS["1M"].items():
            archive.writestr(f"ml-1m/{name}", text)
    assert len(import_cohort("movielens", [tmp_path / "ml-1m.zip"]).interactions) == 3


def test_films_of_one_title_are_told_apart_and_unknown_ones_named_by_number(tmp_path):
    files = FORMS["csv"] | {"movies.csv": "movieId,title,genres\n7,Emma,(no genres listed)\n"}
    ratings = "userId,movieId,rating,timestamp\n1,7,3,964982703\n1,8,3,964982704\n1,100,3,964982704\n"
    cohort = import_cohort("movielens", [write(tmp_path, files | {"ratings.csv": ratings})])
    assert cohort.actions["label"].tolist() == ["Emma", "movie 8", "movie 100"]
    assert pd.isna(cohort.actions["genres"].iloc[0])
    (tmp_path / "movies.csv").write_text("movieId,title,genres\n7,Emma,x\n8,Emma,y\n")
    assert import_cohort("movielens", [tmp_path]).actions["label"].tolist() == ["Emma [7]", "Emma [8]", "movie 100"]


def test_ratings_alone_are_enough_under_any_name(tmp_path):
    (tmp_path / "mine.csv").write_text(FORMS["csv"]["ratings.csv"])
    cohort = import_cohort("movielens", [tmp_path / "mine.csv"])
    assert cohort.actions["label"].tolist() == ["movie 7", "movie 31"]


def test_churn_by_inactivity_can_be_asked_for(tmp_path):
    (tmp_path / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5,0\n1,2,5,10\n2,1,5,1\n")
    cohort = import_cohort("movielens", [tmp_path], churn_days=5)
    assert cohort.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.txt": "x"}, "expected ratings.csv, rating.csv, ratings.dat, u.data, found none of them"),
        ({"ratings.dat": "1::2::3\n"}, "ratings.dat row 1: expected the same columns as the header"),
        ({"ratings.dat": "1::2::3::x\n"}, "ratings.dat row 1, column 'timestamp'"),
        ({"ratings.csv": "userId,movieId,rating\n1,2,3\n"}, "ratings.csv: expected the column 'timestamp'"),
        ({"ratings.csv": "userId,movieId,rating,timestamp\n1,2,good,3\n"}, "ratings.csv row 2, column 'rating'"),
        (FORMS["1M"] | {"users.dat": "1::F::25::10::4\n1::F::25::10::4\n"}, "users.dat row 2: duplicate userId '1'"),
    ],
)
def test_what_is_no_movielens_is_refused_by_file_and_row(tmp_path, files, said):
    with pytest.raises(DataError) as refusal:
        import_cohort("movielens", [write(tmp_path, files)])
    assert said in str(refusal.value)


@pytest.mark.data
def test_latest_small_has_its_published_counts(shared_data):
    cohort = import_cohort("movielens", [shared_data / "movielens-latest-small"])
    events = cohort.interactions
    assert (len(events), cohort.n_customers, len(cohort.actions)) == (100_836, 610, 9_724)
    assert (events["timestamp"].min().date().isoformat(), events["timestamp"].max().date().isoformat()) == (
        "1996-03-29",
        "2018-09-24",
    )
    assert np.unique(events["value"] * 2).tolist() == list(range(1, 11))
    assert "Films without ratings, left out: 18." in cohort.notes
    assert cohort.actions.set_index("action")["label"]["11"] == "American President, The (1995)"
    assert cohort.actions["label"].is_unique
