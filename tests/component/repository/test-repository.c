/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * What goes in comes out: over chains, sizes, deletions, and the care of the repository.
 */
#include "repository-scene.h"

#include "fsio.h"

#include <string.h>

#define NO_GRACE 0

static void
start (void)
{
  scene_start (NULL);
}

static void
start_encrypted (void)
{
  scene_start ("open sesame");
}

static void
gc (BkRepositoryGc *result)
{
  g_autoptr (GError) error = NULL;
  ck_assert_msg (bk_repository_gc (scene_repository, NO_GRACE, FALSE, NULL, NULL, NULL, result, &error), "%s", error ? error->message : "");
}

static void
delete (const char *id)
{
  g_autoptr (GError) error = NULL;
  ck_assert_msg (bk_repository_delete (scene_repository, "web01", id, &error), "%s", error ? error->message : "");
}

static void
backup (const char *id, const char *base, const uint8_t *disk, size_t size, const bool *touched)
{
  g_autoptr (GError) error = NULL;
  ck_assert_msg (scene_backup (id, base, disk, size, touched, &error), "%s", error ? error->message : "");
}

/* A chain of backups that grows, shrinks, forgets some of its links and is cleaned up, all at random. */
static void
chain (unsigned seed)
{
  enum { LINKS = 8 };
  static const size_t sizes[] = { 1, 512, CHUNK, CHUNK + 1, 40 * CHUNK, 300 * CHUNK + 777, 260 * CHUNK };
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  uint8_t *copies[LINKS] = { 0 };
  size_t lengths[LINKS], size = sizes[seed % G_N_ELEMENTS (sizes)];
  g_autofree uint8_t *disk = scene_disk (rand, size);
  int last = -1;
  for (int i = 0; i < LINKS; i++) {
    g_autofree char *id = g_strdup_printf ("B%d", i);
    g_autofree char *base = last >= 0 ? g_strdup_printf ("B%d", last) : NULL;
    g_autofree bool *touched = g_new0 (bool, size / CHUNK + 1);
    if (base)
      scene_change (rand, disk, size, touched);
    backup (id, base, disk, size, base ? touched : NULL);
    copies[i] = g_memdup2 (disk, size);
    lengths[i] = size;
    last = i;
    if (g_rand_int_range (rand, 0, 3) == 0) {
      int gone = g_rand_int_range (rand, 0, i + 1);
      g_autofree char *gone_id = g_strdup_printf ("B%d", gone);
      BkRepositoryGc result;
      if (copies[gone] && gone != last) {
        delete (gone_id);
        g_clear_pointer (&copies[gone], g_free);
        gc (&result);
      }
    }
    /* Another size for the next: what is new is zero, what is cut off does not come back. */
    size_t wanted = g_rand_int_range (rand, 0, 2) ? size : MAX (1, size + (size_t)g_rand_int_range (rand, -100000, 200000) % (1u << 20));
    if (wanted != size && wanted < 400 * CHUNK) {
      uint8_t *resized = g_malloc0 (wanted + 1);
      memcpy (resized, disk, MIN (size, wanted));
      g_free (disk);
      disk = resized;
      size = wanted;
    }
    for (int k = 0; k <= i; k++) {
      g_autofree char *known = g_strdup_printf ("B%d", k);
      if (copies[k])
        scene_check (known, copies[k], lengths[k]);
    }
  }
  for (int i = 0; i < LINKS; i++)
    g_free (copies[i]);
}

START_TEST (gives_back_what_it_was_given)
{
  chain ((unsigned)_i);
}
END_TEST

/* An increment over a base whose size is another. */
START_TEST (a_disk_that_was_smaller_and_grows_again_is_zero_there)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (5);
  size_t large = 700 * CHUNK, small = 3 * CHUNK + 100;
  g_autofree uint8_t *disk = g_malloc (large);
  g_autofree bool *nothing = g_new0 (bool, large / CHUNK + 1);
  memset (disk, 7, large);
  backup ("LARGE", NULL, disk, large, NULL);
  backup ("SMALL", "LARGE", disk, small, nothing);
  scene_check ("SMALL", disk, small);
  memset (disk + small, 0, large - small);
  backup ("AGAIN", "SMALL", disk, large, nothing);
  scene_check ("AGAIN", disk, large);
}
END_TEST

static BkRepositoryDisk
disk_of (const char *id)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryDisk disk;
  ck_assert (bk_repository_read_disk (scene_repository, "web01", id, "vda", &disk, &error));
  return disk;
}

START_TEST (stores_only_what_is_new)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (9);
  size_t size = 600 * CHUNK;
  g_autofree uint8_t *disk = scene_disk (rand, size);
  g_autofree bool *touched = g_new0 (bool, 600);
  for (size_t i = 0; i < size; i++)
    disk[i] = (uint8_t)g_rand_int (rand);
  backup ("A", NULL, disk, size, NULL);
  ck_assert_uint_eq (disk_of ("A").bytes_new, size);
  uint64_t before = bk_repository_bytes_stored (scene_repository);
  /* The whole disk once more, and nothing of it is new. */
  backup ("B", NULL, disk, size, NULL);
  ck_assert_uint_eq (disk_of ("B").bytes_new, 0);
  ck_assert_str_eq (disk_of ("A").root, disk_of ("B").root);
  ck_assert_uint_eq (bk_repository_bytes_stored (scene_repository), before);
  /* One chunk of 64 KiB costs a page or two more, not 4 MiB. */
  touched[17] = touched[18] = true;
  disk[17 * CHUNK] ^= 1;
  backup ("C", "A", disk, size, touched);
  ck_assert_uint_eq (disk_of ("C").bytes_in, 2 * CHUNK);
  ck_assert_uint_eq (disk_of ("C").bytes_changed, CHUNK);
  ck_assert_uint_eq (disk_of ("C").bytes_new, CHUNK);
  ck_assert_uint_lt (bk_repository_bytes_stored (scene_repository) - before, 2 * CHUNK);
  scene_check ("C", disk, size);
  disk[17 * CHUNK] ^= 1;
  scene_check ("A", disk, size);
}
END_TEST

START_TEST (a_chunk_that_is_random_in_part_is_compressed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (10);
  size_t size = 32 * CHUNK;
  g_autofree uint8_t *disk = g_malloc (size);
  for (size_t i = 0; i < size; i++) {
    size_t within = i % CHUNK, chunk = i / CHUNK;
    bool random = within >= CHUNK / 2 && within < CHUNK / 2 + 12 * 1024;
    disk[i] = random ? (uint8_t)g_rand_int (rand) : (uint8_t)"some text, "[(i + chunk) % 11];
  }
  backup ("A", NULL, disk, size, NULL);
  ck_assert_uint_lt (disk_of ("A").bytes_stored, size / 3);
  scene_check ("A", disk, size);
}
END_TEST

static gboolean
count_kinds (uint64_t offset G_GNUC_UNUSED, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  ((uint64_t *)user_data)[kind] += length;
  return TRUE;
}

START_TEST (tells_what_is_equal_to_another_backup)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (3);
  size_t size = 520 * CHUNK;
  g_autofree uint8_t *disk = g_malloc (size);
  g_autofree bool *touched = g_new0 (bool, 520);
  memset (disk, 1, size);
  for (size_t i = 0; i < size; i += CHUNK)
    memcpy (disk + i, &i, sizeof i);
  backup ("A", NULL, disk, size, NULL);
  touched[300] = true;
  disk[300 * CHUNK] ^= 1;
  backup ("B", "A", disk, size, touched);
  g_autoptr (BkReader) reader = bk_repository_open_disk (scene_repository, "web01", "B", "vda", "A", &error);
  ck_assert (bk_reader_open (reader, 1, NULL, &error));
  uint64_t found[3] = { 0 };
  ck_assert (bk_reader_extents (reader, count_kinds, found, NULL, &error));
  ck_assert_uint_eq (found[BK_EXTENT_DATA], CHUNK);
  ck_assert_uint_eq (found[BK_EXTENT_CLEAN], size - CHUNK);
}
END_TEST

/* --- trash and space --- */

START_TEST (the_trash_gives_back_and_space_returns)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  size_t size = 200 * CHUNK;
  g_autofree uint8_t *disk = scene_disk (rand, size);
  BkRepositoryGc result;
  for (size_t i = 0; i < size; i++)
    disk[i] = (uint8_t)g_rand_int (rand);
  backup ("A", NULL, disk, size, NULL);
  delete ("A");
  ck_assert (!bk_repository_has (scene_repository, "web01", "A"));
  ck_assert (bk_repository_gc (scene_repository, 3600, FALSE, NULL, NULL, NULL, &result, &error));
  ck_assert_uint_eq (result.bytes_freed, 0);
  g_autoptr (GPtrArray) trash = bk_repository_list_trash (scene_repository, &error);
  ck_assert_uint_eq (trash->len, 1);
  ck_assert (bk_repository_undelete (scene_repository, "web01", "A", &error));
  scene_check ("A", disk, size);
  delete ("A");
  ck_assert (bk_repository_gc (scene_repository, NO_GRACE, TRUE, NULL, NULL, NULL, &result, &error));
  ck_assert_uint_gt (result.bytes_freed, size);
  ck_assert_uint_gt (bk_repository_bytes_stored (scene_repository), size); /* it was only asked for */
  gc (&result);
  ck_assert_uint_gt (result.bytes_freed, size);
  ck_assert_uint_eq (bk_repository_bytes_stored (scene_repository), 0);
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  ck_assert_uint_eq (packs->len, 0);
  ck_assert (!bk_repository_undelete (scene_repository, "web01", "A", &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

START_TEST (sparse_packs_are_rewritten)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  size_t size = 100 * CHUNK, small = 10 * CHUNK;
  g_autofree uint8_t *disk = g_malloc (size);
  BkRepositoryGc result;
  for (size_t i = 0; i < size; i++)
    disk[i] = (uint8_t)g_rand_int (rand);
  backup ("A", NULL, disk, size, NULL);
  backup ("B", NULL, disk + 5 * CHUNK, small, NULL); /* nothing of it is new */
  delete ("A");
  gc (&result);
  ck_assert_uint_eq (result.packs_rewritten, 1);
  ck_assert_uint_lt (bk_repository_bytes_stored (scene_repository), 2 * small);
  scene_check ("B", disk + 5 * CHUNK, small);
}
END_TEST

START_TEST (what_is_in_use_stays)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (2);
  size_t size = 50 * CHUNK;
  g_autofree uint8_t *disk = scene_disk (rand, size);
  g_autofree uint8_t *found = g_malloc (size);
  BkRepositoryGc result;
  backup ("A", NULL, disk, size, NULL);
  /* A reader of a backup that goes. */
  g_autoptr (BkReader) reader = bk_repository_open_disk (scene_repository, "web01", "A", "vda", NULL, &error);
  ck_assert (bk_reader_open (reader, 1, NULL, &error));
  /* A writer that counts on what is there. */
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (scene_repository, "web01", "B", &error);
  g_autoptr (BkSink) sink = bk_repository_writer_add_disk (writer, "vda", size, 0, NULL, &error);
  ck_assert (bk_sink_open (sink, 1, NULL, &error) && bk_sink_write (sink, 0, 0, disk, size, &error));
  delete ("A");
  gc (&result);
  ck_assert_uint_eq (result.trash_purged, 1);
  ck_assert (bk_reader_read (reader, 0, 0, found, size, &error));
  ck_assert (memcmp (found, disk, size) == 0);
  ck_assert (bk_sink_finish (sink, NULL, &error));
  g_autoptr (BkBackupInfo) manifest = scene_manifest ("B", size);
  ck_assert (bk_repository_writer_commit (writer, manifest, &error));
  g_clear_pointer (&sink, bk_sink_free);
  g_clear_pointer (&writer, bk_repository_writer_free);
  g_clear_pointer (&reader, bk_reader_free);
  gc (&result);
  scene_check ("B", disk, size);
}
END_TEST

START_TEST (a_pin_holds)
{
  g_autoptr (GError) error = NULL;
  uint8_t disk[1000] = { 1 };
  backup ("A", NULL, disk, sizeof disk, NULL);
  ck_assert (bk_repository_pin (scene_repository, "web01", "A", TRUE, &error));
  ck_assert (!bk_repository_delete (scene_repository, "web01", "A", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autoptr (BkBackupInfo) info = bk_repository_read (scene_repository, "web01", "A", &error);
  ck_assert (info->pinned);
  ck_assert (bk_repository_pin (scene_repository, "web01", "A", FALSE, &error));
  delete ("A");
}
END_TEST

/* --- who may open it --- */

START_TEST (one_process_writes)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepository) second = bk_repository_open (scene_root, NULL, BK_REPOSITORY_WRITE, &error);
  ck_assert_ptr_null (second);
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autoptr (BkRepository) reader = bk_repository_open (scene_root, NULL, BK_REPOSITORY_READ, &error);
  bk_assert_no_error (error);
  /* While it reads, the trash is not emptied. */
  uint8_t disk[1000] = { 1 };
  BkRepositoryGc result;
  backup ("A", NULL, disk, sizeof disk, NULL);
  delete ("A");
  gc (&result);
  ck_assert (result.trash_held && result.trash_purged == 0);
  ck_assert_ptr_null (bk_repository_begin (reader, "web01", "B", &error));
  bk_assert_error (error, BK_ERROR_FAILED);
}
END_TEST

START_TEST (makes_none_where_something_is)
{
  g_autoptr (GError) error = NULL;
  ck_assert (!bk_repository_create (scene_root, NULL, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  const BkRepositoryOptions odd = { .chunk_size = 100000 };
  g_autofree char *other = g_strconcat (scene_root, "-other", NULL);
  ck_assert (!bk_repository_create (other, &odd, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (!g_file_test (other, G_FILE_TEST_EXISTS));
  ck_assert (bk_repository_is_one (scene_root) && !bk_repository_is_one (other));
}
END_TEST

START_TEST (the_wrong_key_opens_nothing)
{
  g_autoptr (GError) error = NULL;
  const BkRepositorySecret wrong = { .passphrase = "open says me" };
  g_autofree char *key_file = g_strconcat (scene_root, ".key", NULL);
  ck_assert (g_file_set_contents (key_file, "0123456789012345678901234567890123456789", -1, NULL));
  const BkRepositorySecret file = { .key_file = key_file };
  const BkRepositorySecret *const secrets[] = { &wrong, &file, NULL };
  uint8_t disk[5000] = { 9 };
  backup ("A", NULL, disk, sizeof disk, NULL);
  scene_check ("A", disk, sizeof disk);
  g_clear_pointer (&scene_repository, bk_repository_unref);
  for (size_t i = 0; i < G_N_ELEMENTS (secrets); i++) {
    ck_assert_ptr_null (bk_repository_open (scene_root, secrets[i], BK_REPOSITORY_READ, &error));
    bk_assert_error (error, BK_ERROR_DENIED);
  }
  scene_open ("open sesame", BK_REPOSITORY_WRITE);
  scene_check ("A", disk, sizeof disk);
}
END_TEST

/* No word of the guest is in any file of an encrypted repository. */
START_TEST (nothing_is_in_the_clear)
{
  static const char secret[] = "the password of the admiral is anchor";
  g_autofree uint8_t *disk = g_malloc0 (3 * CHUNK);
  for (size_t at = 0; at + sizeof secret < 3 * CHUNK; at += 4096)
    memcpy (disk + at, secret, sizeof secret);
  backup ("A", NULL, disk, 3 * CHUNK, NULL);
  g_autoptr (GPtrArray) packs = scene_files ("packs", false);
  ck_assert_uint_eq (packs->len, 1);
  for (unsigned i = 0; i < packs->len; i++) {
    g_autofree char *content = NULL;
    size_t length = 0;
    ck_assert (g_file_get_contents (packs->pdata[i], &content, &length, NULL));
    ck_assert_ptr_null (memmem (content, length, "admiral", 7));
  }
}
END_TEST

/* --- blobs --- */

START_TEST (blobs_come_along)
{
  g_autoptr (GError) error = NULL;
  size_t length = 0;
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (scene_repository, "web01", "A", &error);
  g_autoptr (BkBackupInfo) manifest = scene_manifest ("A", 0);
  bk_backup_disk_free (g_ptr_array_steal_index (manifest->disks, 0));
  ck_assert (bk_repository_writer_add_blob (writer, "domain.xml", "<domain/>", 9, &error));
  ck_assert (!bk_repository_writer_add_blob (writer, "domain.xml", "<domain/>", 9, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_repository_writer_commit (writer, manifest, &error));
  g_autofree char *data = bk_repository_read_blob (scene_repository, "web01", "A", "domain.xml", &length, &error);
  ck_assert_str_eq (data, "<domain/>");
  ck_assert_ptr_null (bk_repository_read_blob (scene_repository, "web01", "A", "nvram", &length, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

START_TEST (statistics_add_up)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (8);
  size_t size = 64 * CHUNK;
  g_autofree uint8_t *disk = g_malloc (size);
  BkRepositoryStats stats;
  for (size_t i = 0; i < size; i++)
    disk[i] = (uint8_t)g_rand_int (rand);
  backup ("A", NULL, disk, size, NULL);
  backup ("B", NULL, disk, size, NULL);
  ck_assert (bk_repository_stats (scene_repository, NULL, &stats, &error));
  ck_assert_uint_eq (stats.backups, 2);
  ck_assert_uint_eq (stats.bytes_logical, 2 * size);
  ck_assert_uint_eq (stats.bytes_data, 2 * size);
  ck_assert_uint_ge (stats.bytes_unique, size);
  ck_assert_uint_lt (stats.bytes_unique, size + 3 * CHUNK);
  ck_assert (stats.dedup_ratio > 1.9 && stats.dedup_ratio < 2.0);
  ck_assert_uint_eq (stats.bytes_garbage, 0);
}
END_TEST

int
main (void)
{
  const TTest *const plain[] = { a_disk_that_was_smaller_and_grows_again_is_zero_there,
                                        tells_what_is_equal_to_another_backup,
                                        the_trash_gives_back_and_space_returns,
                                        what_is_in_use_stays,
                                        a_pin_holds,
                                        one_process_writes,
                                        makes_none_where_something_is,
                                        blobs_come_along,
                                        statistics_add_up,
                                        stores_only_what_is_new,
                                        a_chunk_that_is_random_in_part_is_compressed,
                                        sparse_packs_are_rewritten };
  const TTest *const encrypted[] = { the_wrong_key_opens_nothing, nothing_is_in_the_clear, what_is_in_use_stays };
  Suite *suite = suite_create ("repository");
  TCase *chains = tcase_create ("chains"), *some = tcase_create ("plain"), *secret = tcase_create ("encrypted");
  tcase_add_checked_fixture (chains, start, scene_stop);
  tcase_add_loop_test (chains, gives_back_what_it_was_given, 0, 14);
  tcase_add_checked_fixture (some, start, scene_stop);
  for (size_t i = 0; i < G_N_ELEMENTS (plain); i++)
    tcase_add_test (some, plain[i]);
  tcase_add_checked_fixture (secret, start_encrypted, scene_stop);
  for (size_t i = 0; i < G_N_ELEMENTS (encrypted); i++)
    tcase_add_test (secret, encrypted[i]);
  TCase *cases[] = { chains, some, secret };
  for (size_t i = 0; i < G_N_ELEMENTS (cases); i++) {
    tcase_set_timeout (cases[i], 60);
    suite_add_tcase (suite, cases[i]);
  }
  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
