/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Files of a repository that are flipped, cut, missing or exchanged, and keys that are wrong: what is read is right or CORRUPT,
 * never wrong; verify tells what is hurt; the next backup that has the data heals it.
 */
#include "history-scene.h"
#include "index-run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *path;

static char *
in_repository (const char *name)
{
  return g_build_filename (path, name, NULL);
}

/* Paths of all packs; (transfer full). */
static GPtrArray *
list_packs (void)
{
  GPtrArray *packs = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *folder = in_repository ("packs");
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  ck_assert_ptr_nonnull (dir);
  for (const char *name = g_dir_read_name (dir); name != NULL; name = g_dir_read_name (dir))
    g_ptr_array_add (packs, g_build_filename (folder, name, NULL));
  ck_assert_uint_gt (packs->len, 0);
  return packs;
}

static void
load (const char *file, char **data, size_t *length)
{
  ck_assert_msg (g_file_get_contents (file, data, length, NULL), "%s", file);
}

static void
save (const char *file, const char *data, size_t length)
{
  FILE *out = fopen (file, "w");
  ck_assert_ptr_nonnull (out);
  ck_assert_uint_eq (fwrite (data, 1, length, out), length);
  ck_assert_int_eq (fclose (out), 0);
}

static void
flip (const char *file, size_t offset)
{
  g_autofree char *data = NULL;
  size_t length;
  load (file, &data, &length);
  data[offset % length] ^= 0x40;
  save (file, data, length);
}

static GByteArray *
make_model (void)
{
  GByteArray *model = scene_disk (MIB + 4321);
  scene_fill_random (model, 0, 200 * KIB, 1);
  scene_fill_text (model, 512 * KIB, 200 * KIB, 2);
  scene_fill_random (model, MIB, 4321, 3);
  return model;
}

/* Right, or CORRUPT. */
static bool
is_readable (BkRepository *repository, const char *id, const GByteArray *model)
{
  g_autoptr (GError) error = NULL;
  if (scene_compare (repository, id, model, NULL, &error))
    return true;
  bk_assert_error (error, BK_ERROR_CORRUPT);
  return false;
}

static BkRepositoryVerify *
verify_all (BkRepository *repository)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryVerify *verify = bk_repository_verify (repository, NULL, NULL, 2, NULL, NULL, NULL, NULL, &error);
  bk_assert_no_error (error);
  ck_assert_ptr_nonnull (verify);
  return verify;
}

/* --- packs --- */

START_TEST (flipped_packs_are_never_believed)
{
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autoptr (BkRepository) first = scene_create (path, NULL);
  scene_must_backup (first, "B1", model, NULL, NULL, NULL);
  g_clear_pointer (&first, bk_repository_unref);
  g_autoptr (GPtrArray) packs = list_packs ();
  ck_assert_uint_eq (packs->len, 1);
  const char *pack = packs->pdata[0];
  g_autofree char *original = NULL;
  size_t length;
  unsigned hurt = 0;
  load (pack, &original, &length);
  for (size_t offset = 0; offset < length; offset += offset < 256 ? 7 : length / 97) {
    g_autoptr (GError) error = NULL;
    save (pack, original, length);
    flip (pack, offset);
    g_autoptr (BkRepository) repository = bk_repository_open (path, NULL, BK_REPOSITORY_READ, &error);
    bk_assert_no_error (error);
    hurt += !is_readable (repository, "B1", model);
  }
  ck_assert_uint_gt (hurt, 50);
}
END_TEST

START_TEST (cut_packs_give_what_is_left)
{
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autoptr (BkRepository) first = scene_create (path, NULL);
  scene_must_backup (first, "B1", model, NULL, NULL, NULL);
  g_clear_pointer (&first, bk_repository_unref);
  g_autoptr (GPtrArray) packs = list_packs ();
  g_autofree char *original = NULL;
  size_t length;
  load (packs->pdata[0], &original, &length);
  for (size_t left = length - 1; left > 16; left = left * 9 / 10) {
    g_autoptr (GError) error = NULL;
    save (packs->pdata[0], original, left);
    g_autoptr (BkRepository) repository = bk_repository_open (path, NULL, BK_REPOSITORY_READ, &error);
    bk_assert_no_error (error);
    bool readable = is_readable (repository, "B1", model);
    ck_assert_msg (readable || left < length - 1, "the loss of the last byte costs nothing");
  }
}
END_TEST

START_TEST (verify_names_what_is_hurt_and_a_backup_heals_it)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  scene_must_backup (repository, "B2", model, "B1", model, NULL);
  g_autoptr (GPtrArray) packs = list_packs ();
  g_clear_pointer (&repository, bk_repository_unref);
  flip (packs->pdata[0], 100 * KIB); /* in the second of the random chunks */

  repository = scene_open (path, NULL);
  g_autoptr (BkRepositoryVerify) verify = verify_all (repository);
  ck_assert_uint_eq (verify->backups, 2);
  ck_assert_uint_eq (verify->bad_chunks, 1);
  ck_assert_uint_eq (verify->damage->len, 2);
  const BkRepositoryDamage *damage = verify->damage->pdata[0];
  ck_assert_str_eq (damage->vm, "web01");
  ck_assert_str_eq (damage->disk, "vda");
  ck_assert_uint_eq (damage->offset, 64 * KIB);
  ck_assert_uint_eq (damage->length, 64 * KIB);
  ck_assert (!is_readable (repository, "B1", model));

  /* Marked durably. */
  g_clear_pointer (&repository, bk_repository_unref);
  repository = scene_open (path, NULL);
  g_autoptr (GPtrArray) kept = bk_repository_read_damage (repository, "web01", "B2", &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (kept->len, 1);

  scene_must_backup (repository, "B3", model, NULL, NULL, NULL);
  scene_assert_content (repository, "B1", model);
  scene_assert_content (repository, "B3", model);
  g_autoptr (BkRepositoryVerify) again = verify_all (repository);
  ck_assert_uint_eq (again->damage->len, 0);
  g_autoptr (GPtrArray) healed = bk_repository_read_damage (repository, "web01", "B2", &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (healed->len, 0);
}
END_TEST

START_TEST (a_missing_pack_is_told_and_healed)
{
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_clear_pointer (&repository, bk_repository_unref);
  g_autoptr (GPtrArray) packs = list_packs ();
  ck_assert_int_eq (unlink (packs->pdata[0]), 0);
  repository = scene_open (path, NULL);
  scene_assert_listed (repository, "B1");
  ck_assert (!is_readable (repository, "B1", model));
  g_autoptr (BkRepositoryVerify) verify = verify_all (repository);
  ck_assert_uint_gt (verify->damage->len, 0);
  scene_must_backup (repository, "B2", model, NULL, NULL, NULL);
  scene_assert_content (repository, "B2", model);
  scene_assert_content (repository, "B1", model);
}
END_TEST

/* --- the index: whatever becomes of it, nothing is lost, and nothing that is live is freed --- */

/* The only file in it; (transfer full). */
static char *
index_path (void)
{
  g_autofree char *folder = in_repository ("index");
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  ck_assert_ptr_nonnull (dir);
  const char *name = g_dir_read_name (dir);
  ck_assert_ptr_nonnull (name);
  char *file = g_build_filename (folder, name, NULL);
  ck_assert_ptr_null (g_dir_read_name (dir));
  return file;
}

static void
remove_index (void)
{
  g_autofree char *folder = in_repository ("index");
  g_autofree char *command = g_strdup_printf ("rm -rf '%s'", folder);
  ck_assert_int_eq (system (command), 0);
}

/* Two backups with something in common, and one in the trash. */
static void
make_three (const GByteArray *model, const GByteArray *other)
{
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  scene_must_backup (repository, "B0", other, NULL, NULL, NULL);
  scene_must_backup (repository, "B1", model, "B0", other, NULL);
  scene_must_backup (repository, "B2", other, NULL, NULL, NULL);
  scene_must_delete (repository, "B0");
}

static void
assert_three_go_on (const GByteArray *model, const GByteArray *other)
{
  g_autoptr (BkRepository) repository = scene_open (path, NULL);
  scene_must_backup (repository, "B3", model, NULL, NULL, NULL);
  scene_must_gc (repository, NULL);
  scene_assert_content (repository, "B1", model);
  scene_assert_content (repository, "B2", other);
  scene_assert_content (repository, "B3", model);
  scene_must_delete (repository, "B3");
}

START_TEST (the_index_may_go)
{
  g_autoptr (GByteArray) model = make_model (), other = make_model ();
  scene_fill_random (other, 600 * KIB, 150 * KIB, 9);
  path = scene_path ();
  make_three (model, other);
  remove_index ();
  assert_three_go_on (model, other);
}
END_TEST

START_TEST (a_damaged_index_is_made_anew)
{
  g_autoptr (GByteArray) model = make_model (), other = make_model ();
  scene_fill_random (other, 600 * KIB, 150 * KIB, 9);
  path = scene_path ();
  make_three (model, other);
  g_autofree char *file = index_path (), *original = NULL;
  size_t length;
  load (file, &original, &length);
  for (size_t offset = 0; offset < length; offset += 97) {
    g_autofree char *now = index_path (), *data = NULL;
    size_t now_length;
    load (now, &data, &now_length);
    if (offset % 2)
      flip (now, offset % now_length);
    else
      save (now, data, offset % now_length);
    assert_three_go_on (model, other);
  }
}
END_TEST

/* Says that all is in it, and has nothing but pages: as no accident would have it, and so that no walk over maps misses anything. */
static void
make_index_lie (void)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *file = index_path (), *copy = g_strconcat (path, ".copy", NULL);
  int fd = open (copy, O_RDWR | O_CREAT, 0600);
  g_autoptr (BkIndexRun) run = bk_index_run_open (open (file, O_RDONLY), file, &error);
  bk_assert_no_error (error);
  g_autoptr (BkIndexRunWriter) writer = bk_index_run_writer_new (fd, copy);
  BkIndexCursor *cursor = bk_index_cursor_new (run);
  for (unsigned i = 0; i < bk_index_run_packs (run); i++)
    ck_assert_uint_eq (bk_index_run_writer_add_pack (writer, bk_index_run_pack_name (run, i)), i);
  for (const BkIndexEntry *entry = NULL; bk_index_cursor_next (cursor, &entry, &error) && entry;)
    if (entry->length < 64 * KIB)
      ck_assert (bk_index_run_writer_append (writer, entry, &error));
  ck_assert (bk_index_run_writer_finish (writer, &error));
  bk_assert_no_error (error);
  bk_index_cursor_free (cursor);
  close (fd);
  ck_assert_int_eq (rename (copy, file), 0);
}

START_TEST (an_index_that_lies_frees_nothing)
{
  g_autoptr (GByteArray) model = make_model (), other = make_model ();
  scene_fill_random (other, 600 * KIB, 150 * KIB, 9);
  path = scene_path ();
  make_three (model, other);
  make_index_lie ();
  g_autoptr (BkRepository) repository = scene_open (path, NULL);
  scene_must_gc (repository, NULL);
  scene_assert_content (repository, "B1", model);
  scene_assert_content (repository, "B2", other);
}
END_TEST

START_TEST (an_index_that_lies_hides_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model (), other = make_model ();
  path = scene_path ();
  make_three (model, other);
  make_index_lie ();
  g_autoptr (BkRepository) reader = bk_repository_open (path, NULL, BK_REPOSITORY_READ, &error);
  bk_assert_no_error (error);
  scene_assert_content (reader, "B1", model);
  g_clear_pointer (&reader, bk_repository_unref);
  assert_three_go_on (model, other);
}
END_TEST

/* --- manifests --- */

static char *
manifest_path (const char *id)
{
  g_autofree char *name = g_build_filename ("backups", "web01", id, NULL);
  return in_repository (name);
}

START_TEST (damaged_manifests_stop_gc)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model ();
  BkRepositoryGc result;
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  scene_must_backup (repository, "B2", model, NULL, NULL, NULL);
  g_autofree char *file = manifest_path ("B1");
  g_autofree char *original = NULL;
  size_t length;
  load (file, &original, &length);
  for (size_t offset = 0; offset < length; offset += 29) {
    save (file, original, length);
    flip (file, offset);
    scene_assert_listed (repository, "B2");
    ck_assert_ptr_null (bk_repository_read (repository, "web01", "B1", &error));
    ck_assert_msg (g_error_matches (error, BK_ERROR, BK_ERROR_CORRUPT) || g_error_matches (error, BK_ERROR, BK_ERROR_FAILED), "%s", error->message);
    g_clear_error (&error);
  }
  for (size_t left = 0; left < length; left += 31) {
    save (file, original, left);
    ck_assert_ptr_null (bk_repository_read (repository, "web01", "B1", &error));
    bk_assert_error (error, BK_ERROR_CORRUPT);
  }
  ck_assert (!bk_repository_gc (repository, 0, FALSE, NULL, NULL, NULL, &result, &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
  save (file, original, length);
  scene_assert_content (repository, "B1", model);
  scene_assert_content (repository, "B2", model);
}
END_TEST

START_TEST (a_manifest_is_that_of_its_own_backup)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  scene_must_backup (repository, "B2", model, NULL, NULL, NULL);
  g_autofree char *one = manifest_path ("B1"), *two = manifest_path ("B2"), *data = NULL;
  size_t length;
  load (one, &data, &length);
  save (two, data, length);
  ck_assert_ptr_null (bk_repository_read (repository, "web01", "B2", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

/* --- keys --- */

static void
assert_denied (const BkRepositorySecret *secret)
{
  g_autoptr (GError) error = NULL;
  ck_assert_ptr_null (bk_repository_open (path, secret, BK_REPOSITORY_READ, &error));
  bk_assert_error (error, BK_ERROR_DENIED);
}

static bool
contains (const char *file, const void *data, size_t length)
{
  g_autofree char *content = NULL;
  size_t size;
  load (file, &content, &size);
  return memmem (content, size, data, length) != NULL;
}

START_TEST (only_the_passphrase_opens)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model ();
  BkRepositorySecret secret = { .passphrase = "correct horse" }, wrong = { .passphrase = "correct horsf" };
  bool encrypted = false;
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, &(BkRepositoryOptions){ .secret = &secret });
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_clear_pointer (&repository, bk_repository_unref);
  assert_denied (NULL);
  assert_denied (&wrong);
  ck_assert (bk_repository_is_encrypted (path, &encrypted, &error));
  ck_assert (encrypted);
  g_autoptr (GPtrArray) packs = list_packs ();
  ck_assert (!contains (packs->pdata[0], model->data + 4096, 32));
  repository = scene_open (path, &secret);
  scene_assert_content (repository, "B1", model);
}
END_TEST

START_TEST (only_the_key_file_opens)
{
  g_autoptr (GByteArray) model = make_model ();
  path = scene_path ();
  g_autofree char *key = g_strconcat (path, ".key", NULL), *other = g_strconcat (path, ".other", NULL), *tiny = g_strconcat (path, ".tiny", NULL);
  save (key, "0123456789abcdef0123456789abcdef", 32);
  save (other, "0123456789abcdef0123456789abcdeF", 32);
  save (tiny, "0123", 4);
  g_autoptr (GError) error = NULL;
  BkRepositorySecret secret = { .key_file = key }, wrong = { .key_file = other }, small = { .key_file = tiny };
  ck_assert (!bk_repository_create (path, &(BkRepositoryOptions){ .secret = &small }, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (!bk_repository_is_one (path));
  g_autoptr (BkRepository) repository = scene_create (path, &(BkRepositoryOptions){ .secret = &secret });
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_clear_pointer (&repository, bk_repository_unref);
  assert_denied (&wrong);
  repository = scene_open (path, &secret);
  scene_assert_content (repository, "B1", model);
}
END_TEST

/* What a thief without the key may do to a manifest: make up a checksum. */
START_TEST (an_encrypted_repository_takes_no_mere_checksum)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GByteArray) model = make_model ();
  BkRepositorySecret secret = { .passphrase = "correct horse" };
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, &(BkRepositoryOptions){ .secret = &secret });
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_autofree char *file = manifest_path ("B1"), *data = NULL;
  size_t length;
  load (file, &data, &length);
  char *body = strchr (data, '\n') + 1;
  char *hash = body - 1 - 64; /* the last word of the first line */
  g_autofree char *sum = g_compute_checksum_for_data (G_CHECKSUM_SHA256, (const uint8_t *)body, length - (size_t)(body - data));
  memcpy (hash, sum, 64);
  save (file, data, length);
  ck_assert_ptr_null (bk_repository_read (repository, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_CORRUPT);
}
END_TEST

START_TEST (a_changed_header_is_not_believed)
{
  BkRepositorySecret secret = { .passphrase = "correct horse" };
  path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, &(BkRepositoryOptions){ .secret = &secret });
  g_clear_pointer (&repository, bk_repository_unref);
  g_autofree char *file = in_repository ("repository.json"), *original = NULL;
  size_t length;
  load (file, &original, &length);
  for (size_t left = 0; left + 1 < length; left += 37) { /* the last byte is a newline */
    g_autoptr (GError) error = NULL;
    save (file, original, left);
    ck_assert_msg (bk_repository_open (path, &secret, BK_REPOSITORY_READ, &error) == NULL, "cut at %zu of %zu", left, length);
    ck_assert_msg (error->domain == BK_ERROR, "%s", error->message);
  }
  static const char *const others[] = { "null", "[]", "1", "\"x\"", "{}", "{\"format\":null}" };
  for (size_t i = 0; i < G_N_ELEMENTS (others); i++) {
    g_autoptr (GError) error = NULL;
    save (file, others[i], strlen (others[i]));
    ck_assert_msg (bk_repository_open (path, &secret, BK_REPOSITORY_READ, &error) == NULL, "%s", others[i]);
    ck_assert_msg (error->domain == BK_ERROR, "%s", error->message);
  }
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { flipped_packs_are_never_believed, cut_packs_give_what_is_left, verify_names_what_is_hurt_and_a_backup_heals_it,
                                 a_missing_pack_is_told_and_healed, the_index_may_go,
                                 a_damaged_index_is_made_anew, an_index_that_lies_frees_nothing, an_index_that_lies_hides_nothing, damaged_manifests_stop_gc, a_manifest_is_that_of_its_own_backup,
                                 only_the_passphrase_opens, only_the_key_file_opens, an_encrypted_repository_takes_no_mere_checksum,
                                 a_changed_header_is_not_believed, NULL };
  return bk_suite_run ("repository-tamper", tests);
}
