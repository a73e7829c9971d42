/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What is pure about exports: the reply, the names. And the probe of what is not there.
 */
#include "bk-json.h"
#include "probe.h"
#include "qmp-export.h"
#include "qmp-nbd.h"
#include "suite.h"

#include <string.h>

static GPtrArray *
read_exports (const char *text)
{
  g_autoptr (json_object) reply = json_tokener_parse (text);
  return bk_qmp_exports_read (reply);
}

/* Recorded from QEMU 7.2.22. */
START_TEST (reads_exports)
{
  g_autoptr (GPtrArray) exports =
      read_exports ("[{\"node-name\": \"bkd-0a1b2c-1-c0\", \"shutting-down\": false, \"type\": \"nbd\", \"id\": \"bkd-0a1b2c-1-l0.1\"},"
                    " {\"node-name\": \"s0\", \"shutting-down\": true, \"type\": \"fuse\", \"id\": \"x\"}]");
  ck_assert_uint_eq (exports->len, 2);
  const BkQmpExport *first = exports->pdata[0], *second = exports->pdata[1];
  ck_assert_str_eq (first->id, "bkd-0a1b2c-1-l0.1");
  ck_assert_str_eq (first->node, "bkd-0a1b2c-1-c0");
  ck_assert_str_eq (first->type, "nbd");
  ck_assert (!first->shutting_down && second->shutting_down);
}
END_TEST

START_TEST (survives_odd_replies)
{
  static const char *const odd[] = { "[]", "{}", "null", "[1, null, {}]", "[{\"id\": 1, \"type\": \"nbd\", \"node-name\": \"n\"}]",
                                     "[{\"id\": \"x\", \"type\": \"nbd\"}]" };
  for (size_t i = 0; i < G_N_ELEMENTS (odd); i++) {
    g_autoptr (GPtrArray) exports = read_exports (odd[i]);
    ck_assert_msg (exports->len == 0, "%s", odd[i]);
  }
}
END_TEST

static void
number_is (const char *id, const char *expected)
{
  g_autofree char *number = bk_qmp_nbd_number (id);
  ck_assert_msg (g_strcmp0 (number, expected) == 0, "%s: %s", id, number ? number : "none");
}

START_TEST (tells_the_server_in_the_id)
{
  number_is ("bkd-0a1b2c-43-x0.42", "42");
  number_is ("bkd-0a1b2c-43-x0", NULL);
  number_is ("bkd-0a1b2c-43-x0.", NULL);
  number_is ("bkd-0a1b2c-43-x0.4a", NULL);
  number_is ("a.b.7", "7");
}
END_TEST

START_TEST (names_exports)
{
  BkRunDisk disk = { .index = 3 };
  BkRun run = { .prefix = (char *)"bkd-0a1b2c-43" };
  g_autofree char *own = bk_qmp_nbd_export_id (&run, "x", &disk);
  ck_assert_str_eq (own, "bkd-0a1b2c-43-x3.43");
  run.nbd_server = (char *)"/run/b-1/bkd-0a1b2c-42.nbd";
  g_autofree char *shared = bk_qmp_nbd_export_id (&run, "k", &disk);
  ck_assert_str_eq (shared, "bkd-0a1b2c-43-k3.42");
}
END_TEST

START_TEST (tells_what_is_not_there)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = g_build_filename (folder, "x", NULL);
  ck_assert (!bk_probe_listener (path));
  ck_assert (!bk_probe_nbd (path, "disk", 1000, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!bk_probe_file (path, 1000, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (!bk_probe_file (folder, 1000, &error));
  bk_assert_error (error, BK_ERROR_FAILED);
  ck_assert (g_file_set_contents (path, "short", -1, NULL));
  ck_assert (!bk_probe_file (path, 1000, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  g_autofree char *sector = g_malloc0 (512);
  ck_assert (g_file_set_contents (path, sector, 512, NULL));
  ck_assert (bk_probe_file (path, 1000, &error));
  ck_assert (!bk_probe_listener (path));
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_exports, survives_odd_replies, tells_the_server_in_the_id, names_exports, tells_what_is_not_there, NULL };
  return bk_suite_run ("qmp-export", tests);
}
