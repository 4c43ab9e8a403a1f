"""Workbooks: cells as a CSV would have them, dates told by their style, sheets of the same columns as one table."""

import io
import zipfile
from xml.sax.saxutils import escape

import pytest

from crm_models.core.errors import DataError
from crm_models.data.sources import import_cohort
from crm_models.data.sources.frames import SHEETS_LEFT_OUT
from crm_models.data.sources.reading import read_table

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
LINKS = "http://schemas.openxmlformats.org"


def workbook_parts(
    sheets: dict[str, str], *, shared: tuple[str, ...] = (), styles: str = "", book: str = ""
) -> dict[str, str]:
    """The files of a workbook whose sheets are given as the XML of their rows."""
    entries = "".join(f'<sheet name="{name}" sheetId="{k}" r:id="r{k}"/>' for k, name in enumerate(sheets))
    links = "".join(f'<Relationship Id="r{k}" Target="worksheets/s{k}.xml"/>' for k in range(len(sheets)))
    parts = {
        "[Content_Types].xml": "<Types/>",
        "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{LINKS}/officeDocument/2006/relationships">{book}'
        f"<sheets>{entries}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{LINKS}/package/2006/relationships">{links}'
        "</Relationships>",
        "xl/styles.xml": f"<styleSheet {MAIN}>{styles}</styleSheet>",
        "xl/sharedStrings.xml": f"<sst {MAIN}>{''.join(f'<si>{text}</si>' for text in shared)}</sst>",
    }
    for k, rows in enumerate(sheets.values()):
        parts[f"xl/worksheets/s{k}.xml"] = f"<worksheet {MAIN}><sheetData>{rows}</sheetData></worksheet>"
    return parts


def workbook(sheets: dict[str, str], **more) -> bytes:
    """The same as the bytes of one file."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for name, text in workbook_parts(sheets, **more).items():
            archive.writestr(name, text)
    return target.getvalue()


def rows_of(*rows: tuple[object, ...]) -> str:
    """Rows of plain cells: text inline, numbers as numbers, None left out."""
    text = ""
    for number, row in enumerate(rows, start=1):
        cells = ""
        for place, cell in enumerate(row):
            where = f'r="{chr(65 + place)}{number}"'
            if isinstance(cell, str):
                cells += f'<c {where} t="inlineStr"><is><t>{escape(cell)}</t></is></c>'
            elif cell is not None:
                cells += f"<c {where}><v>{cell}</v></c>"
        text += f'<row r="{number}">{cells}</row>'
    return text


def cells(raw: bytes) -> list[list]:
    table = read_table(raw, "t.xlsx")
    return [list(table.columns), *table.astype(object).where(table.notna(), None).values.tolist()]


def test_every_kind_of_cell_becomes_the_text_that_a_csv_would_have():
    rows = (
        '<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="s"><v>1</v></c></row>'
        '<row r="2"><c r="A2" t="s"><v>2</v></c><c r="B2"><v>2.55</v></c></row>'
        '<row r="3"><c r="A3" t="inlineStr"><is><t>in</t></is></c><c r="B3" t="b"><v>1</v></c></row>'
        '<row r="4"><c r="A4" t="str"><f>A3&amp;"x"</f><v>inx</v></c><c r="B4" t="e"><v>#DIV/0!</v></c></row>'
        '<row r="5"><c r="B5"><v>7</v></c></row>'
    )
    raw = workbook({"one": rows}, shared=("<t>name</t>", "<r><t>va</t></r><r><t>lue</t></r>", "<t> Café </t>"))
    assert cells(raw) == [["name", "value"], ["Café", "2.55"], ["in", "TRUE"], ["inx", None], [None, "7"]]


STYLES = (
    '<numFmts><numFmt numFmtId="164" formatCode="m/d/yy\\ h:mm;@"/>'
    '<numFmt numFmtId="165" formatCode="0.00&quot;d&quot;"/></numFmts>'
    '<cellXfs><xf numFmtId="0"/><xf numFmtId="164"/><xf numFmtId="14"/><xf numFmtId="165"/></cellXfs>'
)


@pytest.mark.parametrize(
    ("style", "shown"), [(0, "40513.35"), (1, "2010-12-01 08:24:00"), (2, "2010-12-01 08:24:00"), (3, "40513.35")]
)
def test_a_number_is_a_date_where_its_style_shows_one(style, shown):
    raw = workbook(
        {"one": rows_of(("when",)) + f'<row r="2"><c r="A2" s="{style}"><v>40513.35</v></c></row>'}, styles=STYLES
    )
    assert cells(raw)[1] == [shown]


def test_a_workbook_that_counts_from_1904_is_read_so():
    raw = workbook(
        {"one": rows_of(("when",)) + '<row r="2"><c r="A2" s="1"><v>0.5</v></c></row>'},
        styles=STYLES,
        book='<workbookPr date1904="1"/>',
    )
    assert cells(raw)[1] == ["1904-01-01 12:00:00"]


def test_sheets_of_the_same_columns_are_one_table_and_others_are_named():
    same, other = rows_of(("a", "b"), (1, 2), (3, 4)), rows_of(("Read me",), ("text",))
    raw = workbook({"2009": same, "notes": other, "2010": rows_of(("a", "b"), (5, 6))})
    assert cells(raw) == [["a", "b"], ["1", "2"], ["3", "4"], ["5", "6"]]
    assert read_table(raw, "t.xlsx").attrs[SHEETS_LEFT_OUT] == ["notes"]


@pytest.mark.parametrize("form", ["tables", "retail"])
def test_sheets_that_are_not_read_are_noted(tmp_path, form):
    header = ("InvoiceNo", "StockCode", "Quantity", "InvoiceDate", "UnitPrice", "customer_id")
    given = header if form == "tables" else (*header[:-1], "CustomerID")
    rows = rows_of(given, (1, "A", 2, "2010-12-01", 1.5, 7), (2, "A", 2, "2010-12-02", 1.5, 7))
    (tmp_path / "orders.xlsx").write_bytes(workbook({"data": rows, "about": rows_of(("Read me",))}))
    cohort = import_cohort(form, [tmp_path], churn_days=None)
    said = {
        "tables": "orders.xlsx, sheet about is not read: its columns are not those of a known table.",
        "retail": "orders.xlsx: sheets with other columns are not read: about.",
    }
    assert said[form] in cohort.notes


def test_sheets_of_customers_and_of_events_make_one_cohort(tmp_path):
    people = rows_of(("Kundennummer", "churned", "age"), *((f"c{k}", k % 2, 20 + k) for k in range(6)))
    events = rows_of(
        ("Kundennummer", "action", "timestamp"), *((f"c{k % 6}", "call", f"2026-01-{k + 1:02d}") for k in range(20))
    )
    (tmp_path / "crm.xlsx").write_bytes(workbook({"Kunden": people, "Ereignisse": events}))
    cohort = import_cohort("tables", [tmp_path / "crm.xlsx"])
    assert (cohort.n_customers, len(cohort.interactions), cohort.has_labels) == (6, 20, True)
    assert "crm.xlsx, sheet Kunden: read as customers, by its columns." in cohort.notes


def test_rows_of_a_sheet_are_counted_as_the_sheet_counts_them(tmp_path):
    rows = rows_of(("Customers of 2026",), ("id", "age", "city"), ("a", 30, "Ulm"), ("a", 31, "Ulm"))
    rows = rows.replace('r="4"', 'r="9"').replace('4"', '9"')  # five blank rows, which the file leaves out
    (tmp_path / "customers.xlsx").write_bytes(workbook({"one": rows}))
    with pytest.raises(DataError, match=r"^customers.xlsx row 9: duplicate customer_id 'a'"):
        import_cohort("tables", [tmp_path / "customers.xlsx"])


def test_columns_beyond_z_keep_their_place():
    header = "".join(f'<c r="{chr(65 + k)}1" t="inlineStr"><is><t>c{k}</t></is></c>' for k in range(26))
    header += '<c r="AA1" t="inlineStr"><is><t>c26</t></is></c>'
    table = read_table(
        workbook({"one": f'<row r="1">{header}</row><row r="2"><c r="AA2"><v>9</v></c></row>'}), "t.xlsx"
    )
    assert table["c26"].tolist() == ["9"]
    assert table["c25"].isna().all()


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (workbook({"one": ""}), "found empty ones"),
        (workbook({"one": '<row r="1"><c r="A1" t="s"><v>5</v></c></row>'}), "cannot be read"),
        (workbook({"one": '<row r="1"><c r="B1"><v>5</v></c><c r="A1"><v>5</v></c></row>'}), "out of order"),
        (workbook({"one": '<row r="1"><c r="ZZZZ1"><v>5</v></c></row>'}), "there is no column ZZZZ"),
        (workbook({"one": "<row>"}), "cannot be read"),
        (workbook({"one": rows_of(("a", "a"), (1, 2))}), "duplicate column 'a'"),
    ],
)
def test_a_workbook_without_a_table_or_damaged_is_refused(raw, said):
    with pytest.raises(DataError, match=said):
        read_table(raw, "t.xlsx")


def test_both_years_of_online_retail_ii_come_from_its_two_sheets(tmp_path):
    header = ("Invoice", "StockCode", "Description", "Quantity", "InvoiceDate", "Price", "Customer ID", "Country")
    first = rows_of(header, (489434, "85048", "LIGHTS", 12, "2009-12-01 07:45:00", 6.95, 13085, "United Kingdom"))
    second = rows_of(header, (536365, 22423, "CAKESTAND", 2, "2010-12-01 08:26:00", 10.5, 13085, "United Kingdom"))
    (tmp_path / "online_retail_II.xlsx").write_bytes(workbook({"Year 2009-2010": first, "Year 2010-2011": second}))
    cohort = import_cohort("retail", [tmp_path], churn_days=None)
    assert cohort.interactions["value"].tolist() == [pytest.approx(83.4), 21.0]
    assert list(cohort.interactions["action"]) == ["85048", "22423"]
    assert list(cohort.customers["customer_id"]) == ["13085"]
