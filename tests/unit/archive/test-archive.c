/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "archive.h"
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *root;
static BkArchive *archive;

static void
start (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  root = g_build_filename (folder, "repo", NULL);
  archive = bk_archive_open (root, TRUE, &error);
  bk_assert_no_error (error);
}

static void
stop (void)
{
  g_clear_pointer (&archive, bk_archive_unref);
  g_clear_pointer (&root, g_free);
}

static void
add_disk (BkBackupInfo *backup, const char *name, const char *parent)
{
  BkBackupDisk *disk = g_new0 (BkBackupDisk, 1);
  disk->name = g_strdup (name);
  disk->level = g_strdup (parent ? "incremental" : "full");
  disk->state = g_strdup ("completed");
  disk->format = g_strdup ("qcow2");
  disk->parent = g_strdup (parent);
  g_ptr_array_add (backup->disks, disk);
}

static BkBackupInfo *
make_backup (const char *vm, const char *id, int64_t second, const char *disk, const char *parent)
{
  BkBackupInfo *backup = g_new0 (BkBackupInfo, 1);
  backup->vm = g_strdup (vm);
  backup->id = g_strdup (id);
  backup->state = g_strdup ("completed");
  backup->point_in_time = second * G_USEC_PER_SEC;
  backup->disks = g_ptr_array_new ();
  add_disk (backup, disk, parent);
  return backup;
}

static void
commit (const char *vm, const char *id, int64_t second, const char *disk, const char *parent)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = make_backup (vm, id, second, disk, parent);
  g_autofree char *image = bk_archive_image_path (archive, vm, id, disk);
  bool ok = bk_archive_begin (archive, vm, id, &error);
  bk_assert_no_error (error);
  ck_assert (ok && g_file_set_contents (image, "image", -1, NULL));
  ok = bk_archive_commit (archive, backup, &error);
  bk_assert_no_error (error);
  ck_assert (ok && bk_archive_has (archive, vm, id));
}

/* "VM/ID VM/ID ..." of what the archive lists. */
static void
assert_listed (const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) backups = bk_archive_list (archive, &error);
  g_autoptr (GString) text = g_string_new (NULL);
  bk_assert_no_error (error);
  for (unsigned i = 0; i < backups->len; i++) {
    const BkBackupInfo *backup = backups->pdata[i];
    g_string_append_printf (text, "%s%s/%s", i > 0 ? " " : "", backup->vm, backup->id);
  }
  ck_assert_str_eq (text->str, wanted);
}

static void
assert_debris (const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) debris = bk_archive_debris (archive, &error);
  bk_assert_no_error (error);
  g_autofree char *text = g_strjoinv (" ", debris);
  ck_assert_str_eq (text, wanted);
}

START_TEST (opens_and_makes)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *path = g_build_filename (folder, "a/b", NULL);
  g_autofree char *hidden = g_build_filename (folder, ".repository.json.abcdef", NULL);
  g_autofree char *file = g_build_filename (folder, "file", NULL);
  ck_assert_ptr_null (bk_archive_open (path, FALSE, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_ptr_null (bk_archive_open (folder, FALSE, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (g_file_set_contents (hidden, "", 0, NULL)); /* of a crash */
  bk_archive_unref (bk_archive_open (folder, TRUE, &error));
  bk_assert_no_error (error);
  ck_assert (g_file_set_contents (file, "", 0, NULL));
  bk_archive_unref (bk_archive_open (folder, TRUE, &error));
  bk_assert_no_error (error);
  ck_assert_ptr_null (bk_archive_open (file, TRUE, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
}
END_TEST

START_TEST (takes_no_foreign_folder)
{
  static const char *const markers[] = { "{}", "x", "[]", "{\"format\":\"backupd-dedup\",\"version\":1,\"id\":\"x\"}",
                                         "{\"format\":\"backupd-qcow2\",\"version\":2,\"id\":\"x\"}",
                                         "{\"format\":\"backupd-qcow2\",\"version\":1}" };
  g_autofree char *folder = bk_suite_folder ();
  g_autofree char *marker = g_build_filename (folder, "repository.json", NULL);
  g_autofree char *other = g_build_filename (folder, "thesis.txt", NULL);
  ck_assert (g_file_set_contents (other, "", 0, NULL));
  for (int create = 0; create < 2; create++) {
    g_autoptr (GError) error = NULL;
    ck_assert_ptr_null (bk_archive_open (folder, create, &error));
    bk_assert_error (error, BK_ERROR_CONFLICT);
  }
  for (size_t i = 0; i < G_N_ELEMENTS (markers); i++) {
    g_autoptr (GError) error = NULL;
    ck_assert (g_file_set_contents (marker, markers[i], -1, NULL));
    ck_assert_ptr_null (bk_archive_open (folder, TRUE, &error));
    bk_assert_error (error, BK_ERROR_CONFLICT);
  }
}
END_TEST

START_TEST (begins_commits_and_reads)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B1", 1000, "virtio 1", NULL);
  ck_assert (!bk_archive_begin (archive, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autoptr (BkBackupInfo) read = bk_archive_read (archive, "web01", "B1", &error);
  bk_assert_no_error (error);
  ck_assert (!bk_archive_commit (archive, read, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  const BkBackupDisk *disk = read->disks->pdata[0];
  g_autofree char *image = g_build_filename (root, "web01", "B1", "virtio%201.qcow2", NULL);
  ck_assert_str_eq (disk->file, image);
  ck_assert_uint_eq (read->version, 1);
  ck_assert_ptr_null (bk_archive_read (archive, "web01", "B2", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  assert_debris ("");
  stop ();
}
END_TEST

START_TEST (names_paths)
{
  start ();
  g_autofree char *folder = bk_archive_backup_folder (archive, "..", "../x");
  g_autofree char *wanted = g_build_filename (root, "%2E.", "%2E.%2Fx", NULL);
  g_autofree char *backing = bk_archive_backing_name ("B1", "a/b");
  ck_assert_str_eq (folder, wanted);
  ck_assert_str_eq (backing, "../B1/a%2Fb.qcow2");
  commit ("..", "..", 1, "..", NULL);
  assert_listed ("../..");
  stop ();
}
END_TEST

START_TEST (commits_only_what_is_whole)
{
  start ();
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) backup = make_backup ("web01", "B2", 1000, "vda", "B1");
  g_autofree char *image = bk_archive_image_path (archive, "web01", "B2", "vda");
  ck_assert (bk_archive_begin (archive, "web01", "B2", &error));
  ck_assert (!bk_archive_commit (archive, backup, &error)); /* no image */
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert (g_file_set_contents (image, "image", -1, NULL));
  ck_assert (!bk_archive_commit (archive, backup, &error)); /* no parent */
  ck_assert_ptr_nonnull (strstr (error->message, "'B1'"));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  assert_listed ("");
  assert_debris ("web01/B2");
  commit ("web01", "B1", 900, "vda", NULL);
  ck_assert (bk_archive_commit (archive, backup, &error));
  assert_listed ("web01/B1 web01/B2");
  stop ();
}
END_TEST

START_TEST (lists_oldest_first)
{
  start ();
  commit ("web01", "a10", 1000, "vda", NULL);
  commit ("web01", "a9", 999, "vda", NULL);
  commit ("db", "a11", 1000, "vda", NULL);
  assert_listed ("web01/a9 web01/a10 db/a11");
  stop ();
}
END_TEST

START_TEST (leaves_out_what_is_damaged)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B1", 1000, "vda", NULL);
  commit ("web01", "B2", 1001, "vda", NULL);
  g_autofree char *good = g_build_filename (root, "web01", "B1", "manifest.json", NULL);
  g_autofree char *other = g_build_filename (root, "web01", "B2", "manifest.json", NULL);
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (good, &text, NULL, NULL));
  ck_assert (g_file_set_contents (other, text, -1, NULL)); /* B1's in the folder of B2 */
  assert_listed ("web01/B1");
  assert_debris ("");
  ck_assert_ptr_null (bk_archive_read (archive, "web01", "B2", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  stop ();
}
END_TEST

START_TEST (is_not_led_astray_by_links_and_strangers)
{
  start ();
  commit ("web01", "B1", 1000, "vda", NULL);
  g_autofree char *vm = g_build_filename (root, "web01", NULL);
  g_autofree char *link = g_build_filename (root, "web02", NULL);
  g_autofree char *stranger = g_build_filename (root, "lost+found", NULL);
  g_autofree char *trash = g_build_filename (root, ".Trash", NULL);
  ck_assert_int_eq (symlink (vm, link), 0);
  ck_assert_int_eq (mkdir (stranger, 0700), 0);
  ck_assert_int_eq (mkdir (trash, 0700), 0);
  assert_listed ("web01/B1");
  assert_debris ("");
  stop ();
}
END_TEST

START_TEST (aborts_only_what_is_not_committed)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B1", 1000, "vda", NULL);
  ck_assert (!bk_archive_abort (archive, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_archive_begin (archive, "web01", "B2", &error));
  assert_debris ("web01/B2");
  ck_assert (bk_archive_abort (archive, "web01", "B2", &error));
  ck_assert (bk_archive_abort (archive, "web01", "B2", &error));
  assert_debris ("");
  assert_listed ("web01/B1");
  stop ();
}
END_TEST

START_TEST (removes_only_what_nobody_stands_on)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B1", 1000, "vda", NULL);
  commit ("web01", "B2", 1001, "vda", "B1");
  commit ("web01", "B3", 1002, "vda", "B1");
  ck_assert (!bk_archive_remove (archive, "web01", "B1", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "'B2'"));
  ck_assert_ptr_nonnull (strstr (error->message, "'B3'"));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_archive_remove (archive, "web01", "B3", &error));
  ck_assert (bk_archive_remove (archive, "web01", "B2", &error));
  assert_listed ("web01/B1");
  ck_assert (bk_archive_remove (archive, "web01", "B1", &error));
  assert_listed ("");
  assert_debris ("");
  ck_assert (!bk_archive_remove (archive, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  stop ();
}
END_TEST

START_TEST (goes_nowhere_when_unmounted)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B1", 1000, "vda", NULL);
  g_autofree char *aside = g_strconcat (root, ".aside", NULL);
  ck_assert_int_eq (rename (root, aside), 0);
  ck_assert_int_eq (mkdir (root, 0700), 0);
  ck_assert_ptr_null (bk_archive_list (archive, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert_ptr_null (bk_archive_debris (archive, &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert (!bk_archive_begin (archive, "web01", "B2", &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  bk_archive_unref (bk_archive_open (root, TRUE, &error)); /* another one, in its place */
  bk_assert_no_error (error);
  ck_assert_ptr_null (bk_archive_read (archive, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  stop ();
}
END_TEST

START_TEST (counts_bytes)
{
  start ();
  uint64_t before = bk_archive_bytes_stored (archive);
  commit ("web01", "B1", 1000, "vda", NULL);
  ck_assert_uint_ge (bk_archive_bytes_stored (archive), before + 8192); /* image and manifest */
  stop ();
}
END_TEST

START_TEST (lists_thousands)
{
  start ();
  g_autoptr (GError) error = NULL;
  commit ("web01", "B0", 1000, "vda", NULL);
  g_autofree char *source = g_build_filename (root, "web01", "B0", "manifest.json", NULL);
  g_autofree char *text = NULL;
  ck_assert (g_file_get_contents (source, &text, NULL, NULL));
  for (int i = 1; i < 3000; i++) {
    g_autoptr (GString) copy = g_string_new (text);
    g_autofree char *id = g_strdup_printf ("\"B%d\"", i);
    g_autofree char *folder = g_strdup_printf ("%s/web01/B%d", root, i);
    g_autofree char *path = g_build_filename (folder, "manifest.json", NULL);
    g_string_replace (copy, "\"B0\"", id, 1);
    ck_assert_int_eq (mkdir (folder, 0700), 0);
    FILE *file = fopen (path, "w");
    ck_assert_int_gt (fputs (copy->str, file), 0);
    fclose (file);
  }
  g_autoptr (GPtrArray) backups = bk_archive_list (archive, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (backups->len, 3000);
  stop ();
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { opens_and_makes,
                                 takes_no_foreign_folder,
                                 begins_commits_and_reads,
                                 names_paths,
                                 commits_only_what_is_whole,
                                 lists_oldest_first,
                                 leaves_out_what_is_damaged,
                                 is_not_led_astray_by_links_and_strangers,
                                 aborts_only_what_is_not_committed,
                                 removes_only_what_nobody_stands_on,
                                 goes_nowhere_when_unmounted,
                                 counts_bytes,
                                 lists_thousands,
                                 NULL };
  return bk_suite_run ("archive", tests);
}
