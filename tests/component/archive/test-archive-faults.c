/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Each operation of the archive fails, or the process is killed, at its n-th file operation, for every n. Afterwards
 * what was committed is whole, nothing half is visible, the debris is found and can be cleared, and the
 * operation works when it is repeated.
 */
#include "fsio.h"
#include "scene.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const base_writes[] = { "1 0 2M", NULL };
static const char *const old_writes[] = { "2 1M 128K", "z 0 64K", NULL };
static const char *const new_writes[] = { "3 1M 64K", NULL };

static BkArchive *archive;
static GByteArray *base_content, *old_content, *new_content; /* of B0, B1 and B2 */

static void
start (void)
{
  g_autoptr (GByteArray) model = g_byte_array_new ();
  archive = scene_archive ();
  scene_backup (archive, "B0", NULL, 2 * MIB, model, base_writes);
  base_content = scene_copy (model);
  scene_backup (archive, "B1", "B0", 3 * MIB, model, old_writes);
  old_content = scene_copy (model);
}

static void
assert_content (const char *id, const GByteArray *wanted)
{
  g_autofree char *image = bk_archive_image_path (archive, "web01", id, "vda");
  scene_assert_content (image, "qcow2", wanted);
}

/* What is listed is @wanted, and so is its content. */
static void
assert_backups (const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) backups = bk_archive_list (archive, &error);
  g_autoptr (GString) text = g_string_new (NULL);
  bk_assert_no_error (error);
  for (unsigned i = 0; i < backups->len; i++) {
    const char *id = ((BkBackupInfo *)backups->pdata[i])->id;
    g_string_append_printf (text, "%s%s", i > 0 ? " " : "", id);
    assert_content (id, g_str_equal (id, "B0") ? base_content : g_str_equal (id, "B1") ? old_content : new_content);
  }
  ck_assert_str_eq (text->str, wanted);
}

static bool
is_committed (const char *id)
{
  return bk_archive_has (archive, "web01", id);
}

/* As the daemon does at its start. */
static void
clear_debris (void)
{
  g_autoptr (GError) error = NULL;
  g_auto (GStrv) debris = bk_archive_debris (archive, &error);
  bk_assert_no_error (error);
  for (size_t i = 0; debris[i] != NULL; i++) {
    g_auto (GStrv) words = g_strsplit (debris[i], "/", 2);
    bool ok = bk_archive_abort (archive, words[0], words[1], &error);
    bk_assert_no_error (error);
    ck_assert (ok);
  }
  g_auto (GStrv) after = bk_archive_debris (archive, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (g_strv_length (after), 0);
}

typedef gboolean (*Operation) (GError **error);

/* FALSE when the operation went through before its @n-th file operation. */
static bool
fails (Operation operation, unsigned n)
{
  g_autoptr (GError) error = NULL;
  bk_fsio_fail_at (n, EIO);
  gboolean ok = operation (&error);
  unsigned count = bk_fsio_count ();
  bk_fsio_fail_at (0, 0);
  ck_assert_msg (ok || error != NULL, "no error at %u", n);
  ck_assert_msg (!ok || count < n, "the fault at %u was passed over", n);
  return !ok;
}

static bool
crashes (Operation operation, unsigned n)
{
  pid_t pid = fork ();
  if (pid == 0) {
    bk_fsio_fail_at (n, -1);
    _exit (operation (NULL) ? 0 : 1);
  }
  int status = 0;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFSIGNALED (status) || (WIFEXITED (status) && WEXITSTATUS (status) == 0));
  return WIFSIGNALED (status);
}

static gboolean
make_backup (GError **error)
{
  g_autofree char *image = bk_archive_image_path (archive, "web01", "B2", "vda");
  g_autofree char *backing = bk_archive_backing_name ("B1", "vda");
  g_autoptr (BkBackupInfo) manifest = bk_archive_read (archive, "web01", "B1", error);
  if (manifest == NULL || !bk_archive_begin (archive, "web01", "B2", error) ||
      !bk_image_create (image, "qcow2", 3 * MIB, backing, false, error))
    return FALSE;
  g_autoptr (GByteArray) model = scene_copy (old_content);
  scene_write (image, model, new_writes);
  BkBackupDisk *disk = manifest->disks->pdata[0];
  g_free (manifest->id);
  manifest->id = g_strdup ("B2");
  manifest->point_in_time += G_USEC_PER_SEC;
  g_free (disk->parent);
  disk->parent = g_strdup ("B1");
  return bk_fsio_sync (image, error) && bk_archive_commit (archive, manifest, error);
}

static void
remember_new_content (void)
{
  g_clear_pointer (&new_content, g_byte_array_unref);
  new_content = scene_copy (old_content);
  memset (new_content->data + MIB, 3, 64 * 1024);
}

static unsigned
try_making (bool (*disturb) (Operation, unsigned), bool may_be_there)
{
  unsigned n = 0;
  bool disturbed = true;
  start ();
  remember_new_content ();
  while (disturbed) {
    disturbed = disturb (make_backup, ++n);
    ck_assert (!disturbed || may_be_there || !is_committed ("B2"));
    assert_backups (is_committed ("B2") ? "B0 B1 B2" : "B0 B1");
    clear_debris ();
    assert_backups (is_committed ("B2") ? "B0 B1 B2" : "B0 B1");
    if (disturbed && is_committed ("B2"))
      ck_assert (bk_archive_remove (archive, "web01", "B2", NULL));
  }
  assert_backups ("B0 B1 B2");
  return n;
}

START_TEST (making_fails)
{
  ck_assert_uint_gt (try_making (fails, false), 12);
}
END_TEST

START_TEST (making_is_killed)
{
  ck_assert_uint_gt (try_making (crashes, true), 12);
}
END_TEST

static gboolean
detach_base (GError **error)
{
  return bk_archive_detach (archive, "web01", "B0", "B1", NULL, NULL, NULL, error);
}

static gboolean
detach_middle (GError **error)
{
  return bk_archive_detach (archive, "web01", "B1", "B2", NULL, NULL, NULL, error);
}

/* No file but images and the manifest, with @hidden_too; or no visible one. */
static void
assert_tidy (const char *id, bool hidden_too)
{
  g_autofree char *folder = bk_archive_backup_folder (archive, "web01", id);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  for (const char *name = g_dir_read_name (dir); name != NULL; name = g_dir_read_name (dir))
    if (hidden_too || name[0] != '.')
      ck_assert_msg (g_str_equal (name, "vda.qcow2") || g_str_equal (name, "manifest.json"), "'%s' is left", name);
}

static unsigned
try_detaching (bool (*disturb) (Operation, unsigned), Operation operation, const char *child, bool killed)
{
  unsigned n = 0;
  bool disturbed = true;
  start ();
  remember_new_content ();
  ck_assert (make_backup (NULL));
  while (disturbed) {
    disturbed = disturb (operation, ++n);
    assert_backups ("B0 B1 B2");
    assert_tidy (child, !killed);
  }
  return n;
}

START_TEST (detaching_the_base_fails)
{
  g_autoptr (GError) error = NULL;
  ck_assert_uint_gt (try_detaching (fails, detach_base, "B1", false), 10);
  bool ok = bk_archive_remove (archive, "web01", "B0", &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  assert_backups ("B1 B2");
}
END_TEST

START_TEST (detaching_the_middle_fails)
{
  g_autoptr (GError) error = NULL;
  ck_assert_uint_gt (try_detaching (fails, detach_middle, "B2", false), 10);
  bool ok = bk_archive_remove (archive, "web01", "B1", &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  assert_backups ("B0 B2");
}
END_TEST

START_TEST (detaching_the_middle_is_killed)
{
  g_autoptr (GError) error = NULL;
  ck_assert_uint_gt (try_detaching (crashes, detach_middle, "B2", true), 10);
  bool ok = bk_archive_remove (archive, "web01", "B1", &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  assert_backups ("B0 B2");
}
END_TEST

static gboolean
remove_last (GError **error)
{
  return bk_archive_remove (archive, "web01", "B1", error);
}

static unsigned
try_removing (bool (*disturb) (Operation, unsigned))
{
  unsigned n = 0;
  bool disturbed = true;
  start ();
  while (disturbed) {
    g_autofree char *folder = bk_archive_backup_folder (archive, "web01", "B1");
    disturbed = disturb (remove_last, ++n);
    assert_backups (is_committed ("B1") ? "B0 B1" : "B0");
    if (disturbed && !g_file_test (folder, G_FILE_TEST_IS_DIR))
      break; /* only the last fsync failed: nothing to repeat */
  }
  clear_debris ();
  assert_backups ("B0");
  return n;
}

START_TEST (removing_fails)
{
  ck_assert_uint_gt (try_removing (fails), 4);
}
END_TEST

START_TEST (removing_is_killed)
{
  ck_assert_uint_gt (try_removing (crashes), 4);
}
END_TEST

static char *new_root;

static gboolean
open_new (GError **error)
{
  g_autoptr (BkArchive) opened = bk_archive_open (new_root, TRUE, error);
  return opened != NULL;
}

static void
try_opening (bool (*disturb) (Operation, unsigned))
{
  g_autofree char *folder = bk_suite_folder ();
  g_autoptr (GError) error = NULL;
  unsigned n = 0;
  do {
    g_free (new_root);
    new_root = g_strdup_printf ("%s/a%u/b", folder, n);
    if (!disturb (open_new, ++n))
      break;
    bool ok = open_new (&error);
    bk_assert_no_error (error);
    ck_assert (ok);
  } while (true);
  ck_assert_uint_gt (n, 8);
}

START_TEST (opening_fails)
{
  try_opening (fails);
}
END_TEST

START_TEST (opening_is_killed)
{
  try_opening (crashes);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { making_fails,
                                 making_is_killed,
                                 detaching_the_base_fails,
                                 detaching_the_middle_fails,
                                 detaching_the_middle_is_killed,
                                 removing_fails,
                                 removing_is_killed,
                                 opening_fails,
                                 opening_is_killed,
                                 NULL };
  return bk_suite_run ("archive-faults", tests);
}
