/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-scene.h"

#include <string.h>

char *scene_root;
BkRepository *scene_repository;

void
scene_open (const char *passphrase, BkRepositoryAccess access)
{
  g_autoptr (GError) error = NULL;
  const BkRepositorySecret secret = { .passphrase = passphrase };
  scene_repository = bk_repository_open (scene_root, passphrase ? &secret : NULL, access, &error);
  bk_assert_no_error (error);
}

void
scene_start (const char *passphrase)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *folder = bk_suite_folder ();
  const BkRepositorySecret secret = { .passphrase = passphrase };
  const BkRepositoryOptions options = { .secret = passphrase ? &secret : NULL };
  scene_root = g_build_filename (folder, "repository", NULL);
  ck_assert (bk_repository_create (scene_root, &options, &error));
  bk_assert_no_error (error);
  scene_open (passphrase, BK_REPOSITORY_WRITE);
}

void
scene_stop (void)
{
  g_clear_pointer (&scene_repository, bk_repository_unref);
  g_clear_pointer (&scene_root, g_free);
}

/* --- disks --- */

static void
fill_chunk (GRand *rand, uint8_t *chunk, size_t length)
{
  switch (g_rand_int_range (rand, 0, 4)) {
  case 0:
    memset (chunk, 0, length);
    break;
  case 1:
    memset (chunk, g_rand_int_range (rand, 1, 256), length);
    break;
  case 2:
    for (size_t i = 0; i < length; i++)
      chunk[i] = (uint8_t)("backup "[i % 7] + (i / 7 == (size_t)g_rand_int_range (rand, 0, 100)));
    break;
  default:
    for (size_t i = 0; i < length; i++)
      chunk[i] = (uint8_t)g_rand_int (rand);
  }
}

uint8_t *
scene_disk (GRand *rand, size_t size)
{
  uint8_t *disk = g_malloc0 (size + 1);
  for (size_t at = 0; at < size; at += CHUNK)
    fill_chunk (rand, disk + at, MIN (CHUNK, size - at));
  return disk;
}

void
scene_change (GRand *rand, uint8_t *disk, size_t size, bool *touched)
{
  for (size_t at = 0; at < size; at += CHUNK) {
    touched[at / CHUNK] = g_rand_int_range (rand, 0, 4) == 0;
    if (touched[at / CHUNK] && g_rand_int_range (rand, 0, 5) > 0) /* some are written with what they held */
      fill_chunk (rand, disk + at, MIN (CHUNK, size - at));
  }
}

/* --- backups --- */

BkBackupInfo *
scene_manifest (const char *id, size_t size)
{
  BkBackupInfo *manifest = g_new0 (BkBackupInfo, 1);
  BkBackupDisk *disk = g_new0 (BkBackupDisk, 1);
  manifest->version = 1;
  manifest->id = g_strdup (id);
  manifest->vm = g_strdup ("web01");
  manifest->state = g_strdup ("completed");
  manifest->point_in_time = g_get_real_time ();
  manifest->disks = g_ptr_array_new ();
  disk->name = g_strdup ("vda");
  disk->level = g_strdup ("full");
  disk->state = g_strdup ("completed");
  disk->size = size;
  g_ptr_array_add (manifest->disks, disk);
  return manifest;
}

static bool
is_zero (const uint8_t *data, size_t length)
{
  return data[0] == 0 && memcmp (data, data + 1, length - 1) == 0;
}

static gboolean
write_chunks (BkSink *sink, const uint8_t *disk, size_t size, const bool *touched, GError **error)
{
  if (!bk_sink_open (sink, 3, NULL, error))
    return FALSE;
  for (size_t at = 0; at < size; at += CHUNK) {
    size_t length = MIN (CHUNK, size - at);
    if (touched && !touched[at / CHUNK])
      continue;
    bool zero = is_zero (disk + at, length) && at % (3 * CHUNK) == 0;
    if (!(zero ? bk_sink_zero (sink, 0, at, length, error) : bk_sink_write (sink, at / CHUNK % 3, at, disk + at, length, error)))
      return FALSE;
  }
  return bk_sink_finish (sink, NULL, error);
}

gboolean
scene_backup (const char *id, const char *base, const uint8_t *disk, size_t size, const bool *touched, GError **error)
{
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (scene_repository, "web01", id, error);
  g_autoptr (BkSink) sink = writer ? bk_repository_writer_add_disk (writer, "vda", size, 0, base, error) : NULL;
  if (sink == NULL || !write_chunks (sink, disk, size, touched, error))
    return FALSE;
  g_autoptr (BkBackupInfo) manifest = scene_manifest (id, size);
  return bk_repository_writer_commit (writer, manifest, error);
}

/* --- reading back --- */

typedef struct {
  const uint8_t *disk;
  uint64_t next;
} Extents;

static gboolean
check_extent (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error G_GNUC_UNUSED)
{
  Extents *extents = user_data;
  ck_assert_uint_eq (offset, extents->next);
  extents->next += length;
  for (uint64_t at = offset; at < offset + length; at += CHUNK) {
    bool zero = is_zero (extents->disk + at, MIN (CHUNK, offset + length - at));
    ck_assert_msg (zero == (kind == BK_EXTENT_ZERO), "the chunk at %" G_GUINT64_FORMAT " is of the wrong kind", at);
  }
  return TRUE;
}

gboolean
scene_read (const char *id, uint8_t *out, size_t size, GError **error)
{
  g_autoptr (BkReader) reader = bk_repository_open_disk (scene_repository, "web01", id, "vda", NULL, error);
  if (reader == NULL || !bk_reader_open (reader, 1, NULL, error))
    return FALSE;
  ck_assert_uint_eq (reader->size, size);
  return bk_reader_read (reader, 0, 0, out, size, error);
}

void
scene_check (const char *id, const uint8_t *disk, size_t size)
{
  g_autoptr (GError) error = NULL;
  g_autofree uint8_t *found = g_malloc (size + 1);
  static const size_t lengths[] = { 512, 4096, CHUNK, 100000, 3 * CHUNK };
  g_autoptr (BkReader) reader = bk_repository_open_disk (scene_repository, "web01", id, "vda", NULL, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (reader->size, size);
  ck_assert (bk_reader_open (reader, 2, NULL, &error));
  for (size_t at = 0, i = 0; at < size; i++) {
    size_t length = MIN (lengths[i % G_N_ELEMENTS (lengths)], size - at);
    ck_assert_msg (bk_reader_read (reader, i % 2, at, found, length, &error), "%s", error ? error->message : "");
    ck_assert_msg (memcmp (found, disk + at, length) == 0, "backup '%s' is wrong between %zu and %zu", id, at, at + length);
    at += length;
  }
  Extents extents = { disk, 0 };
  ck_assert (bk_reader_extents (reader, check_extent, &extents, NULL, &error));
  ck_assert_uint_eq (extents.next, size);
}

static int
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

GPtrArray *
scene_files (const char *folder, bool hidden)
{
  const char *name;
  g_autofree char *path = g_build_filename (scene_root, folder, NULL);
  g_autoptr (GDir) open = g_dir_open (path, 0, NULL);
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  while (open && (name = g_dir_read_name (open)) != NULL)
    if ((name[0] == '.') == hidden)
      g_ptr_array_add (names, g_build_filename (path, name, NULL));
  g_ptr_array_sort (names, compare_names);
  return names;
}
