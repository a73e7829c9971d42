/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bk-types.h"
#include "suite.h"

#include <string.h>

static json_object *
parse (const char *text)
{
  g_autoptr (GError) error = NULL;
  json_object *json = bk_json_parse (text, strlen (text), &error);
  bk_assert_no_error (error);
  return json;
}

/* Reads @text as a backup request, which must fail with a message that is @expected. */
static void
refused (const char *text, const char *expected)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = parse (text);
  ck_assert_ptr_null (bk_struct_from_json (&bk_backup_request_struct, json, &error));
  ck_assert_ptr_nonnull (error);
  ck_assert_str_eq (error->message, expected);
  bk_assert_error (error, BK_ERROR_INVALID);
}

START_TEST (reads_what_it_writes)
{
  const char *text = "{\"id\":\"j1\",\"kind\":\"backup\",\"vm\":\"web01\",\"state\":\"running\",\"speed\":10,"
                     "\"created_at\":\"2026-11-23T02:52:00Z\",\"eta_seconds\":null,\"actions\":[\"cancel\"],"
                     "\"error\":{\"code\":\"failed\",\"message\":\"x\"},"
                     "\"disks\":[{\"name\":\"vda\",\"state\":\"running\"},{\"name\":\"vdb\",\"state\":\"queued\"}]}";
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = parse (text);
  g_autoptr (BkJobInfo) job = bk_struct_from_json (&bk_job_info_struct, json, &error);
  bk_assert_no_error (error);
  ck_assert_int_eq (job->eta_seconds, -1);
  ck_assert_int_eq (job->created_at, 1795402320LL * 1000000);
  ck_assert_uint_eq (job->disks->len, 2);
  g_autoptr (json_object) once = bk_struct_to_json (&bk_job_info_struct, job);
  g_autoptr (BkJobInfo) copy = bk_struct_copy (&bk_job_info_struct, job);
  g_autoptr (json_object) twice = bk_struct_to_json (&bk_job_info_struct, copy);
  ck_assert_str_eq (json_object_to_json_string (once), json_object_to_json_string (twice));
  ck_assert_ptr_nonnull (strstr (json_object_to_json_string (once), "\"2026-11-23T02:52:00Z\""));
  ck_assert_ptr_nonnull (strstr (json_object_to_json_string (once), "\"eta_seconds\": null"));
}
END_TEST

START_TEST (says_where_it_is_wrong)
{
  refused ("{}", "/vm: is required");
  refused ("{\"vm\":null}", "/vm: is required");
  refused ("[]", "/: must be an object");
  refused ("{\"vm\":1}", "/vm: must be a string");
  refused ("{\"vm\":\"a\",\"disks\":[\"vda\",2]}", "/disks/1: must be a string");
  refused ("{\"vm\":\"a\",\"speed\":-1}", "/speed: must not be negative");
  refused ("{\"vm\":\"a\",\"speed\":\"10M\"}", "/speed: must be a whole number");
  refused ("{\"vm\":\"a\",\"level\":\"none\"}", "/level: must be one of auto, full, incremental, differential");
  refused ("{\"vm\":\"a\",\"diskz\":[]}", "/diskz: no such member in a backup request");
  refused ("{\"vm\":\"a\\u0000b\"}", "/vm: must not hold a NUL character");
}
END_TEST

START_TEST (passes_over_unknown_members_when_lax)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (json_object) json = parse ("{\"vm\":\"a\",\"from_the_future\":{}}");
  g_autoptr (BkBackupRequest) request = bk_struct_from_json_lax (&bk_backup_request_struct, json, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (request->vm, "a");
}
END_TEST

START_TEST (parses_exactly_one_document)
{
  static const char *const bad[] = { "", "{", "{}x", "{} {}", "{\"a\":}", "nul", "\"\xff\"", "[1,]2" };
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert_msg (bk_json_parse (bad[i], strlen (bad[i]), &error) == NULL, "%s", bad[i]);
    bk_assert_error (error, BK_ERROR_INVALID);
  }
  g_autoptr (json_object) number = parse (" 42 ");
  ck_assert_int_eq (json_object_get_int (number), 42);
  g_autoptr (json_object) bare = parse ("42");
  ck_assert_int_eq (json_object_get_int (bare), 42);
}
END_TEST

START_TEST (limits_nesting)
{
  g_autoptr (GString) deep = g_string_new (NULL);
  for (int i = 0; i < 100; i++)
    g_string_append_c (deep, '[');
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_json_parse (deep->str, deep->len, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_what_it_writes,         says_where_it_is_wrong,
                                 passes_over_unknown_members_when_lax, parses_exactly_one_document,
                                 limits_nesting,               NULL };
  return bk_suite_run ("json", tests);
}
