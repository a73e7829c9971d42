/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * A backup, a deletion and a GC fail, or the process is killed, at their n-th file operation, for every n. Afterwards earlier
 * backups are whole, no half one is visible, the operation works when it is repeated, and a GC leaves no debris.
 */
#include "fsio.h"
#include "history-scene.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static char *path;
static GByteArray *old_content, *new_content; /* of B1 and B2 */
static const unsigned limit = 2000;           /* operations; far more than there are */

/* A repository with B1, and garbage and a half-dead pack for GC. */
static void
start (void)
{
  g_free (path);
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) gone = scene_disk (MIB);
  g_clear_pointer (&old_content, g_byte_array_unref);
  g_clear_pointer (&new_content, g_byte_array_unref);
  old_content = scene_disk (MIB);
  scene_fill_random (gone, 0, MIB, 1);
  scene_fill_random (old_content, 0, 256 * KIB, 1); /* the part of B0 that lives on */
  scene_fill_text (old_content, 512 * KIB, 128 * KIB, 2);
  scene_must_backup (repository, "B0", gone, NULL, NULL, NULL);
  scene_must_backup (repository, "B1", old_content, NULL, NULL, NULL);
  new_content = scene_copy (old_content);
  scene_fill_random (new_content, 128 * KIB, 128 * KIB, 3);
  scene_fill_zero (new_content, 512 * KIB, 64 * KIB);
}

static gboolean
make_backup (BkRepository *repository, GError **error)
{
  return scene_backup (repository, "B2", new_content, "B1", old_content, NULL, error);
}

static gboolean
delete_backup (BkRepository *repository, GError **error)
{
  return bk_repository_delete (repository, "web01", "B0", error);
}

static gboolean
collect_garbage (BkRepository *repository, GError **error)
{
  BkRepositoryGc result;
  return bk_repository_gc (repository, 0, FALSE, NULL, NULL, NULL, &result, error);
}

typedef gboolean (*Operation) (BkRepository *repository, GError **error);

static bool
is_there (BkRepository *repository, const char *id)
{
  return bk_repository_has (repository, "web01", id);
}

/* Whatever is listed is whole; B1 is. */
static void
assert_whole (BkRepository *repository)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryVerify) verify = bk_repository_verify (repository, NULL, NULL, 1, NULL, NULL, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (verify->damage->len, 0);
  scene_assert_content (repository, "B1", old_content);
  if (is_there (repository, "B2"))
    scene_assert_content (repository, "B2", new_content);
}

/* FALSE when the operation went through before its @n-th file operation. The handle is of use afterwards. */
static bool
fails (Operation operation, unsigned n, int errsv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepository) repository = scene_open (path, NULL);
  bk_fsio_fail_at (n, errsv);
  gboolean ok = operation (repository, &error);
  unsigned count = bk_fsio_count ();
  bk_fsio_fail_at (0, 0);
  ck_assert_msg (ok || error != NULL, "no error at %u", n);
  if (!ok && errsv == ENOSPC)
    ck_assert_msg (g_error_matches (error, BK_ERROR, BK_ERROR_NO_SPACE) || g_error_matches (error, BK_ERROR, BK_ERROR_UNREACHABLE),
                   "at %u: %s", n, error->message);
  assert_whole (repository);
  return count >= n;
}

static bool
fails_with_eio (Operation operation, unsigned n)
{
  return fails (operation, n, EIO);
}

static bool
fails_for_want_of_space (Operation operation, unsigned n)
{
  return fails (operation, n, ENOSPC);
}

static bool
crashes (Operation operation, unsigned n)
{
  pid_t pid = fork ();
  if (pid == 0) {
    g_autoptr (BkRepository) repository = bk_repository_open (path, NULL, BK_REPOSITORY_WRITE, NULL);
    bk_fsio_fail_at (n, -1);
    _exit (repository && operation (repository, NULL) ? 0 : 1);
  }
  int status = 0;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFSIGNALED (status) || (WIFEXITED (status) && WEXITSTATUS (status) == 0));
  g_autoptr (BkRepository) repository = scene_open (path, NULL);
  assert_whole (repository);
  return WIFSIGNALED (status);
}

typedef bool (*Disturbance) (Operation operation, unsigned n);

static void
assert_no_debris (const char *folder)
{
  const char *name;
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  while (dir && (name = g_dir_read_name (dir)) != NULL) {
    g_autofree char *inside = g_build_filename (folder, name, NULL);
    ck_assert_msg (name[0] != '.', "'%s' is left", inside);
    if (g_file_test (inside, G_FILE_TEST_IS_DIR))
      assert_no_debris (inside);
  }
}

static void
sweep_backup (Disturbance disturb)
{
  bool disturbed = true;
  start ();
  for (unsigned n = 1; disturbed; n++) {
    ck_assert_uint_lt (n, limit);
    disturbed = disturb (make_backup, n);
    g_autoptr (BkRepository) repository = scene_open (path, NULL);
    if (!is_there (repository, "B2"))
      scene_must_backup (repository, "B2", new_content, "B1", old_content, NULL);
    scene_assert_content (repository, "B2", new_content);
    scene_must_delete (repository, "B2");
    scene_must_gc (repository, NULL);
    assert_no_debris (path);
  }
}

static void
sweep_deletion (Disturbance disturb)
{
  bool disturbed = true;
  start ();
  for (unsigned n = 1; disturbed; n++) {
    g_autoptr (GError) error = NULL;
    ck_assert_uint_lt (n, limit);
    disturbed = disturb (delete_backup, n);
    g_autoptr (BkRepository) repository = scene_open (path, NULL);
    if (!is_there (repository, "B0"))
      ck_assert_msg (bk_repository_undelete (repository, "web01", "B0", &error), "%s", error->message);
    scene_assert_listed (repository, "B0 B1");
    assert_whole (repository);
  }
}

static void
sweep_gc (Disturbance disturb)
{
  bool disturbed = true;
  for (unsigned n = 1; disturbed; n++) {
    ck_assert_uint_lt (n, limit);
    start ();
    {
      g_autoptr (BkRepository) repository = scene_open (path, NULL);
      scene_must_delete (repository, "B0");
    }
    disturbed = disturb (collect_garbage, n);
    g_autoptr (BkRepository) repository = scene_open (path, NULL);
    scene_assert_listed (repository, "B1");
    scene_must_gc (repository, NULL);
    ck_assert_uint_lt (bk_repository_bytes_stored (repository), 512 * KIB);
    assert_no_debris (path);
    assert_whole (repository);
  }
}

START_TEST (a_backup_that_fails)
{
  sweep_backup (fails_with_eio);
}
END_TEST

START_TEST (a_backup_without_space)
{
  sweep_backup (fails_for_want_of_space);
}
END_TEST

START_TEST (a_backup_that_is_killed)
{
  sweep_backup (crashes);
}
END_TEST

START_TEST (a_deletion_that_fails)
{
  sweep_deletion (fails_with_eio);
}
END_TEST

START_TEST (a_deletion_that_is_killed)
{
  sweep_deletion (crashes);
}
END_TEST

START_TEST (a_gc_that_fails)
{
  sweep_gc (fails_with_eio);
}
END_TEST

START_TEST (a_gc_without_space)
{
  sweep_gc (fails_for_want_of_space);
}
END_TEST

START_TEST (a_gc_that_is_killed)
{
  sweep_gc (crashes);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { a_backup_that_fails, a_backup_without_space, a_backup_that_is_killed, a_deletion_that_fails,
                                 a_deletion_that_is_killed, a_gc_that_fails, a_gc_without_space, a_gc_that_is_killed, NULL };
  return bk_suite_run ("repository-kill", tests);
}
