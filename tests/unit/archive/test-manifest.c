/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manifest.h"
#include "suite.h"

#include <string.h>

#define GOOD                                                                                                 \
  "{\"version\":1,\"id\":\"B1\",\"vm\":\"web01\",\"state\":\"completed\",\"location\":\"\","                \
  "\"point_in_time\":\"2026-11-23T02:52:00Z\",\"size\":5,\"disks\":[{\"name\":\"vda\",\"level\":\"full\","  \
  "\"state\":\"completed\",\"file\":\"vda.qcow2\",\"format\":\"qcow2\",\"size\":5}]}"

static char *folder;

static BkBackupInfo *
read_text (const char *text, size_t length, GError **error)
{
  g_autofree char *path = NULL;
  if (folder == NULL)
    folder = bk_suite_folder ();
  path = g_build_filename (folder, "manifest.json", NULL);
  ck_assert (g_file_set_contents (path, text, (gssize)length, NULL));
  return bk_manifest_read (folder, "web01", "B1", error);
}

START_TEST (reads_with_absolute_names)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) manifest = read_text (GOOD, strlen (GOOD), &error);
  bk_assert_no_error (error);
  const BkBackupDisk *disk = manifest->disks->pdata[0];
  g_autofree char *image = g_build_filename (folder, "vda.qcow2", NULL);
  ck_assert_str_eq (manifest->location, folder);
  ck_assert_str_eq (disk->file, image);
}
END_TEST

/* What is replaced in GOOD, and by what. */
static const struct {
  const char *from, *to;
  BkErrorCode code;
} hostile[] = {
  { "\"vda.qcow2\"", "\"../../etc/passwd\"", BK_ERROR_CORRUPT },
  { "\"vda.qcow2\"", "\"/etc/passwd\"", BK_ERROR_CORRUPT },
  { "\"vda.qcow2\"", "\"../B0/vda.qcow2\"", BK_ERROR_CORRUPT },
  { "\"vda.qcow2\"", "\"vdb.qcow2\"", BK_ERROR_CORRUPT },
  { "\"vda.qcow2\"", "\"json:{}\"", BK_ERROR_CORRUPT },
  { "\"vda.qcow2\"", "null", BK_ERROR_CORRUPT },
  { "\"name\":\"vda\"", "\"name\":\"../vda\"", BK_ERROR_CORRUPT },
  { "\"name\":\"vda\"", "\"name\":\"\"", BK_ERROR_CORRUPT },
  { "\"B1\"", "\"B2\"", BK_ERROR_CORRUPT },
  { "\"web01\"", "\"web02\"", BK_ERROR_CORRUPT },
  { "\"format\":\"qcow2\"", "\"format\":\"raw\"", BK_ERROR_CORRUPT },
  { "\"size\":5}", "\"size\":5,\"parent\":\"B1\"}", BK_ERROR_CORRUPT },
  { "\"size\":5}", "\"size\":5,\"parent\":\"\"}", BK_ERROR_CORRUPT },
  { "\"size\":5}", "\"size\":-5}", BK_ERROR_CORRUPT },
  { "\"size\":5}", "\"size\":5,\"new\":true}", BK_ERROR_CORRUPT },
  { "\"level\":\"full\",", "", BK_ERROR_CORRUPT },
  { "\"full\",\"state\":\"completed\"", "\"full\",\"state\":\"running\"", BK_ERROR_CORRUPT },
  { "\"full\",\"state\":\"completed\"", "\"full\",\"state\":\"failed\"", BK_ERROR_CORRUPT },
  { "\"state\":\"completed\",\"location\"", "\"state\":\"running\",\"location\"", BK_ERROR_CORRUPT },
  { "\"version\":1", "\"version\":2", BK_ERROR_FAILED },
  { "\"version\":1", "\"version\":0", BK_ERROR_CORRUPT },
  { "\"version\":1", "\"version\":\"1\"", BK_ERROR_CORRUPT },
  { "\"version\":1,", "", BK_ERROR_CORRUPT },
  { "}]}", "}]", BK_ERROR_CORRUPT },
  { "}]}", "}]}x", BK_ERROR_CORRUPT },
};

START_TEST (refuses_hostile_manifests)
{
  for (size_t i = 0; i < G_N_ELEMENTS (hostile); i++) {
    g_autoptr (GError) error = NULL;
    g_autoptr (GString) text = g_string_new (GOOD);
    ck_assert_msg (g_string_replace (text, hostile[i].from, hostile[i].to, 1) == 1, "row %zu", i);
    g_autoptr (BkBackupInfo) manifest = read_text (text->str, text->len, &error);
    ck_assert_msg (manifest == NULL, "taken: %s", text->str);
    ck_assert_ptr_nonnull (strstr (error->message, "manifest.json"));
    ck_assert_msg (g_error_matches (error, BK_ERROR, (int)hostile[i].code), "%s: %s", hostile[i].to, error->message);
  }
}
END_TEST

START_TEST (refuses_what_is_no_object)
{
  static const char *const bad[] = { "", "null", "[]", "1", "\"x\"", "{", "\n" };
  for (size_t i = 0; i < G_N_ELEMENTS (bad); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert_ptr_null (read_text (bad[i], strlen (bad[i]), &error));
    bk_assert_error (error, BK_ERROR_CORRUPT);
  }
}
END_TEST

START_TEST (refuses_the_same_disk_twice)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GString) text = g_string_new (GOOD);
  g_autofree char *disk = g_strndup (strchr (GOOD, '[') + 1, (size_t)(strchr (GOOD, ']') - strchr (GOOD, '[') - 1));
  g_autofree char *twice = g_strconcat (disk, ",", disk, NULL);
  ck_assert_uint_eq (g_string_replace (text, disk, twice, 1), 1);
  ck_assert_ptr_null (read_text (text->str, text->len, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

START_TEST (refuses_a_huge_file)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *spaces = g_strnfill (BK_MANIFEST_LIMIT, ' ');
  g_autofree char *text = g_strconcat (spaces, GOOD, NULL);
  ck_assert_ptr_null (read_text (text, strlen (text), &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

START_TEST (writes_what_it_reads)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) manifest = read_text (GOOD, strlen (GOOD), &error);
  bk_assert_no_error (error);
  ck_assert (bk_manifest_write (folder, manifest, &error));
  g_autofree char *path = g_build_filename (folder, "manifest.json", NULL);
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (path, &text, NULL, NULL));
  ck_assert_ptr_nonnull (strstr (text, "\"vda.qcow2\""));
  ck_assert_ptr_null (strstr (text, folder));
  g_autoptr (BkBackupInfo) again = bk_manifest_read (folder, "web01", "B1", &error);
  bk_assert_no_error (error);
  g_autoptr (json_object) a = bk_struct_to_json (&bk_backup_info_struct, manifest);
  g_autoptr (json_object) b = bk_struct_to_json (&bk_backup_info_struct, again);
  ck_assert (json_object_equal (a, b));
}
END_TEST

START_TEST (refuses_to_write_what_it_would_not_read)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) manifest = read_text (GOOD, strlen (GOOD), &error);
  bk_assert_no_error (error);
  g_free (manifest->state);
  manifest->state = g_strdup ("running");
  ck_assert (!bk_manifest_write (folder, manifest, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { reads_with_absolute_names,
                                 refuses_hostile_manifests,
                                 refuses_what_is_no_object,
                                 refuses_the_same_disk_twice,
                                 refuses_a_huge_file,
                                 writes_what_it_reads,
                                 refuses_to_write_what_it_would_not_read,
                                 NULL };
  return bk_suite_run ("manifest", tests);
}
