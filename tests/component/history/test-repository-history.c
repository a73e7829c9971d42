/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What was backed up comes back: random sparse images, chains of bases, disks that grow and shrink, random deletions and GC.
 */
#include "history-scene.h"

#include <string.h>

#define ROUNDS 12
#define MAX_SIZE (3 * MIB)

static size_t
random_size (GRand *rand)
{
  size_t size = (size_t)g_rand_int_range (rand, 1, MAX_SIZE);
  return g_rand_boolean (rand) ? size : MAX (size / (64 * KIB), 1) * (64 * KIB);
}

static void
assert_all (BkRepository *repository, GHashTable *models)
{
  GHashTableIter iter;
  gpointer id, model;
  g_hash_table_iter_init (&iter, models);
  while (g_hash_table_iter_next (&iter, &id, &model))
    scene_assert_content (repository, id, model);
}

/* Some backup that is still there, or NULL. */
static const char *
pick (GHashTable *models, GRand *rand)
{
  unsigned count = g_hash_table_size (models);
  g_autofree gpointer *ids = g_hash_table_get_keys_as_array (models, NULL);
  return count == 0 ? NULL : ids[g_rand_int_range (rand, 0, (int)count)];
}

static void
delete_one (BkRepository *repository, GHashTable *models, GRand *rand)
{
  const char *id = pick (models, rand);
  scene_must_delete (repository, id);
  g_hash_table_remove (models, id);
}

static void
add_one (BkRepository *repository, GHashTable *models, unsigned round, GRand *rand)
{
  const char *base = g_rand_int_range (rand, 0, 4) == 0 ? NULL : pick (models, rand);
  const GByteArray *old = base ? g_hash_table_lookup (models, base) : NULL;
  GByteArray *model = old ? scene_copy (old) : scene_disk (random_size (rand));
  if (old && g_rand_int_range (rand, 0, 3) == 0)
    scene_resize (model, random_size (rand));
  scene_scribble (model, rand);
  char *id = g_strdup_printf ("B%u", round);
  scene_must_backup (repository, id, model, base, old, NULL);
  g_hash_table_insert (models, id, model);
}

static void
run_history (const BkRepositoryOptions *options, uint32_t seed)
{
  g_autofree char *path = scene_path ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  g_autoptr (BkRepository) repository = scene_create (path, options);
  g_autoptr (GHashTable) models = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_byte_array_unref);
  for (unsigned round = 0; round < ROUNDS; round++) {
    add_one (repository, models, round, rand);
    if (g_rand_int_range (rand, 0, 3) == 0)
      delete_one (repository, models, rand);
    if (g_rand_int_range (rand, 0, 4) == 0)
      scene_must_gc (repository, NULL);
    if (g_rand_int_range (rand, 0, 4) == 0) {
      g_clear_pointer (&repository, bk_repository_unref);
      repository = scene_open (path, options ? options->secret : NULL);
    }
    assert_all (repository, models);
  }
}

START_TEST (random_histories_come_back)
{
  for (uint32_t seed = 1; seed <= 6; seed++)
    run_history (NULL, seed);
}
END_TEST

START_TEST (encrypted_histories_come_back)
{
  BkRepositorySecret secret = { .passphrase = "correct horse" };
  run_history (&(BkRepositoryOptions){ .secret = &secret }, 21);
  run_history (&(BkRepositoryOptions){ .secret = &secret, .chunk_size = 256 * KIB }, 22);
}
END_TEST

START_TEST (other_chunk_sizes_come_back)
{
  run_history (&(BkRepositoryOptions){ .chunk_size = 1 * MIB, .compression = 3 }, 31);
  run_history (&(BkRepositoryOptions){ .chunk_size = 128 * KIB, .compression = -1 }, 32);
}
END_TEST

START_TEST (nothing_left_gives_all_space_back)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (2 * MIB);
  BkRepositoryGc result;
  scene_fill_random (model, 0, 2 * MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  ck_assert_uint_gt (bk_repository_bytes_stored (repository), 2 * MIB);
  scene_must_delete (repository, "B1");
  scene_must_gc (repository, &result);
  ck_assert_uint_eq (result.trash_purged, 1);
  ck_assert_uint_gt (result.bytes_freed, 2 * MIB);
  ck_assert_uint_eq (bk_repository_bytes_stored (repository), 0);
}
END_TEST

/* --- what it costs --- */

START_TEST (the_same_again_costs_nothing)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (2 * MIB);
  BkRepositoryDisk first, second;
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, &first);
  scene_must_backup (repository, "B2", model, NULL, NULL, &second);
  ck_assert_uint_eq (first.bytes_changed, MIB);
  ck_assert_uint_ge (first.bytes_new, MIB);
  ck_assert_uint_ge (first.bytes_stored, MIB);
  ck_assert_uint_eq (second.bytes_new, 0);
  ck_assert_uint_eq (second.bytes_stored, 0);
  ck_assert_str_eq (first.root, second.root);
}
END_TEST

START_TEST (an_increment_costs_what_changed)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) old = scene_disk (8 * MIB);
  BkRepositoryDisk counters;
  scene_fill_random (old, 0, 8 * MIB, 1);
  scene_must_backup (repository, "B1", old, NULL, NULL, NULL);
  g_autoptr (GByteArray) model = scene_copy (old);
  scene_fill_random (model, MIB, 64 * KIB, 2);
  scene_must_backup (repository, "B2", model, "B1", old, &counters);
  ck_assert_uint_eq (counters.bytes_in, 64 * KIB);
  ck_assert_uint_eq (counters.bytes_changed, 64 * KIB);
  ck_assert_uint_le (counters.bytes_new, 64 * KIB * 3 / 2);
  scene_assert_content (repository, "B1", old);
  scene_assert_content (repository, "B2", model);
}
END_TEST

START_TEST (text_is_compressed)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  BkRepositoryDisk counters;
  for (uint32_t i = 0; i < 16; i++)
    scene_fill_text (model, i * 64 * KIB, 64 * KIB, i);
  scene_must_backup (repository, "B1", model, NULL, NULL, &counters);
  ck_assert_uint_ge (counters.bytes_new, MIB);
  ck_assert_uint_lt (counters.bytes_stored, MIB / 8);
}
END_TEST

/* --- reading --- */

typedef struct {
  uint64_t clean, data, zero;
} Sums;

static gboolean
sum_extent (uint64_t offset G_GNUC_UNUSED, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  Sums *sums = user_data;
  *(kind == BK_EXTENT_CLEAN ? &sums->clean : kind == BK_EXTENT_ZERO ? &sums->zero : &sums->data) += length;
  return TRUE;
}

static Sums
sum_extents (BkRepository *repository, const char *id, const char *base)
{
  g_autoptr (GError) error = NULL;
  Sums sums = { 0 };
  g_autoptr (BkReader) reader = bk_repository_open_disk (repository, "web01", id, "vda", base, &error);
  bk_assert_no_error (error);
  gboolean ok = bk_reader_open (reader, 1, NULL, &error) && bk_reader_extents (reader, sum_extent, &sums, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  return sums;
}

START_TEST (a_comparison_tells_what_is_alike)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) old = scene_disk (40 * MIB);
  scene_fill_random (old, 0, MIB, 1);
  scene_fill_random (old, 20 * MIB, MIB, 2);
  scene_must_backup (repository, "B1", old, NULL, NULL, NULL);
  g_autoptr (GByteArray) model = scene_copy (old);
  scene_fill_zero (model, 0, 128 * KIB);
  scene_fill_random (model, 30 * MIB, 64 * KIB, 3);
  scene_must_backup (repository, "B2", model, "B1", old, NULL);
  Sums sums = sum_extents (repository, "B2", "B1");
  ck_assert_uint_eq (sums.data, 64 * KIB);
  ck_assert_uint_eq (sums.zero, 128 * KIB);
  ck_assert_uint_eq (sums.clean, 40 * MIB - 192 * KIB);
  Sums alone = sum_extents (repository, "B2", NULL);
  ck_assert_uint_eq (alone.clean, 0);
  ck_assert_uint_eq (alone.data, 2 * MIB - 128 * KIB + 64 * KIB);
}
END_TEST

START_TEST (any_range_can_be_read)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB + 12345);
  scene_fill_random (model, 100, 700 * KIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_autoptr (BkReader) reader = bk_repository_open_disk (repository, "web01", "B1", "vda", NULL, &error);
  bk_assert_no_error (error);
  ck_assert (bk_reader_open (reader, 2, NULL, &error));
  g_autofree uint8_t *data = g_malloc (model->len);
  for (unsigned i = 0; i < 300; i++) {
    size_t offset = (size_t)g_rand_int_range (rand, 0, (int)model->len);
    size_t length = (size_t)g_rand_int_range (rand, 0, (int)(model->len - offset) + 1);
    gboolean ok = bk_reader_read (reader, i % 2, offset, data, length, &error);
    bk_assert_no_error (error);
    ck_assert (ok);
    ck_assert_int_eq (memcmp (data, model->data + offset, length), 0);
  }
}
END_TEST

/* 16 TiB of which two blocks are not zero. */
START_TEST (a_huge_empty_disk_is_quick)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (repository, "web01", "B1", &error);
  const uint64_t size = UINT64_C (16) << 40;
  g_autofree uint8_t *block = g_malloc0 (64 * KIB);
  memset (block, 7, 64 * KIB);
  g_autoptr (BkSink) sink = bk_repository_writer_add_disk (writer, "vda", size, 0, NULL, &error);
  ck_assert (bk_sink_open (sink, 1, NULL, &error));
  ck_assert (bk_sink_write (sink, 0, 0, block, 64 * KIB, &error));
  ck_assert (bk_sink_write (sink, 0, size - 64 * KIB, block, 64 * KIB, &error));
  ck_assert (bk_sink_finish (sink, NULL, &error));
  bk_assert_no_error (error);
  BkBackupInfo info = { .version = 1, .id = (char[]){ "B1" }, .vm = (char[]){ "web01" }, .location = (char[]){ "" }, .state = (char[]){ "completed" },
                        .point_in_time = 1700000000000000, .size = size };
  BkBackupDisk disk = { .name = (char[]){ "vda" }, .level = (char[]){ "full" }, .state = (char[]){ "completed" }, .size = size };
  info.disks = g_ptr_array_new ();
  g_ptr_array_add (info.disks, &disk);
  gboolean ok = bk_repository_writer_commit (writer, &info, &error);
  g_ptr_array_unref (info.disks);
  bk_assert_no_error (error);
  ck_assert (ok);
  Sums sums = sum_extents (repository, "B1", NULL);
  ck_assert_uint_eq (sums.data, 128 * KIB);
  ck_assert_uint_eq (sums.zero, size - 128 * KIB);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { random_histories_come_back, encrypted_histories_come_back, other_chunk_sizes_come_back,
                                 nothing_left_gives_all_space_back, the_same_again_costs_nothing, an_increment_costs_what_changed,
                                 text_is_compressed, a_comparison_tells_what_is_alike, any_range_can_be_read,
                                 a_huge_empty_disk_is_quick, NULL };
  return bk_suite_run ("repository-history", tests);
}
