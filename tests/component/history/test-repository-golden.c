/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Repositories of each version of the format, kept in tests/data/repository, are read by the code of today. They were made by
 *
 *   test-repository-golden make FOLDER
 *
 * and are never made again: a new version of the format gets new ones beside them.
 */
#include "history-scene.h"

#include <string.h>

static const BkRepositorySecret secret = { .passphrase = "golden" };
static const char blob[] = "<domain type='kvm'/>";

static GByteArray *
first_model (void)
{
  GByteArray *model = scene_disk (20 * MIB + 513); /* two leaves, and a chunk that is not full */
  scene_fill_text (model, 0, 200 * KIB, 1);
  scene_fill_random (model, 70 * KIB, 5 * KIB, 2);
  scene_fill_text (model, 20 * MIB, 513, 3);
  return model;
}

static GByteArray *
second_model (void)
{
  GByteArray *model = first_model ();
  scene_fill_random (model, 18 * MIB, 3 * KIB, 4);
  scene_fill_zero (model, 128 * KIB, 64 * KIB);
  return model;
}

static void
add_blobbed (BkRepository *repository, const GByteArray *first)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (repository, "web01", "B3", &error);
  g_autoptr (BkSink) sink = bk_repository_writer_add_disk (writer, "vda", first->len, 0, "B1", &error);
  g_autoptr (BkBackupInfo) manifest = bk_repository_read (repository, "web01", "B1", &error);
  bk_assert_no_error (error);
  g_free (manifest->id);
  manifest->id = g_strdup ("B3");
  manifest->point_in_time += 5 * G_USEC_PER_SEC;
  ck_assert (bk_sink_open (sink, 1, NULL, &error) && bk_sink_finish (sink, NULL, &error));
  ck_assert (bk_repository_writer_add_blob (writer, "domain.xml", blob, strlen (blob), &error));
  gboolean ok = bk_repository_writer_commit (writer, manifest, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
make (const char *folder, const char *name, const BkRepositoryOptions *options)
{
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autoptr (GByteArray) first = first_model (), second = second_model ();
  g_autoptr (BkRepository) repository = scene_create (path, options);
  scene_must_backup (repository, "B1", first, NULL, NULL, NULL);
  scene_must_backup (repository, "B2", second, "B1", first, NULL);
  add_blobbed (repository, first);
}

static void
assert_golden (const char *name, const BkRepositorySecret *key)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (BK_TEST_DATA, "repository", name, NULL);
  g_autoptr (GByteArray) first = first_model (), second = second_model ();
  g_autoptr (BkRepository) repository = bk_repository_open (path, key, BK_REPOSITORY_READ, &error);
  size_t length = 0;
  bk_assert_no_error (error);
  scene_assert_listed (repository, "B1 B2 B3");
  scene_assert_content (repository, "B1", first);
  scene_assert_content (repository, "B2", second);
  scene_assert_content (repository, "B3", first);
  g_autofree char *text = bk_repository_read_blob (repository, "web01", "B3", "domain.xml", &length, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (text, blob);
  g_autoptr (BkRepositoryVerify) verify = bk_repository_verify (repository, NULL, NULL, 1, NULL, NULL, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (verify->backups, 3);
  ck_assert_uint_eq (verify->damage->len, 0);
}

START_TEST (version_1_plain)
{
  assert_golden ("version-1-plain", NULL);
}
END_TEST

START_TEST (version_1_encrypted)
{
  assert_golden ("version-1-encrypted", &secret);
}
END_TEST

static const char *folder; /* to make them in */

START_TEST (makes_them)
{
  make (folder, "version-1-plain", NULL);
  make (folder, "version-1-encrypted", &(BkRepositoryOptions){ .secret = &secret });
}
END_TEST

int
main (int argc, char **argv)
{
  const TTest *const tests[] = { version_1_plain, version_1_encrypted, NULL }, *const makers[] = { makes_them, NULL };
  folder = argc == 3 && strcmp (argv[1], "make") == 0 ? argv[2] : NULL;
  return bk_suite_run ("repository-golden", folder ? makers : tests);
}
