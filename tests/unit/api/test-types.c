/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-types.h"
#include "suite.h"

START_TEST (reads_sizes)
{
  static const struct {
    const char *text;
    uint64_t bytes;
  } rows[] = {
    { "0", 0 },         { "1048576", 1048576 },  { "10M", 10 << 20 }, { "1.5G", 3ull << 29 },
    { "4k", 4096 },     { "2GiB", 2ull << 30 },  { "2gb", 2ull << 30 }, { "1Ti", 1ull << 40 },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GError) error = NULL;
    uint64_t bytes = 1;
    ck_assert (bk_size_parse (rows[i].text, &bytes, &error));
    ck_assert_uint_eq (bytes, rows[i].bytes);
  }
}
END_TEST

START_TEST (refuses_what_is_no_size)
{
  static const char *const bad[] = { "", "M", "-1", "1X", "10 M", "1MM", "1e30", "nan", "inf", "0x10" };
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    uint64_t bytes = 0;
    ck_assert_msg (!bk_size_parse (bad[i], &bytes, &error), "'%s' gave %lu", bad[i], bytes);
    bk_assert_error (error, BK_ERROR_INVALID);
  }
}
END_TEST

START_TEST (checks_names)
{
  ck_assert (bk_id_is_valid ("nightly-2026.11_23"));
  ck_assert (bk_id_is_valid (".."));
  ck_assert (!bk_id_is_valid (""));
  ck_assert (!bk_id_is_valid ("a b"));
  ck_assert (!bk_id_is_valid ("a/b"));
  ck_assert (!bk_id_is_valid ("12345678901234567890123456789012345678901234567890123456789012345"));
  ck_assert (bk_name_is_valid ("web01"));
  ck_assert (!bk_name_is_valid (".."));
  ck_assert (!bk_name_is_valid ("-x"));
}
END_TEST

START_TEST (escapes_path_components)
{
  static const char *const rows[][2] = {
    { "vda", "vda" },      { "virtio-disk0_a.b", "virtio-disk0_a.b" }, { "a/b", "a%2Fb" }, { "..", "%2E." },
    { ".", "%2E" },        { "a%2Fb", "a%252Fb" },                     { "#block1", "%23block1" },
    { "\xc3\xa4", "%C3%A4" }, { "a b\n", "a%20b%0A" },                { "", "%" }, { "_a", "%5Fa" }, { "-a", "%2Da" },
  };
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autofree char *escaped = bk_path_component_escape (rows[i][0]);
    ck_assert_str_eq (escaped, rows[i][1]);
  }
}
END_TEST

START_TEST (has_a_row_for_each_code)
{
  for (int code = 0; code < BK_ERROR_LAST; code++) {
    const BkErrorEntry *entry = bk_error_entry ((BkErrorCode)code);
    ck_assert_ptr_eq (bk_error_entry_by_name (entry->name), entry);
    ck_assert_int_eq (entry->exit_status, code + 1);
  }
  ck_assert_int_eq (bk_error_entry_by_name ("from-the-future")->code, BK_ERROR_FAILED);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_sizes, refuses_what_is_no_size, checks_names, escapes_path_components,
                                 has_a_row_for_each_code, NULL };
  return bk_suite_run ("types", tests);
}
