/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "history-scene.h"

#include <string.h>

#define VM "web01"
#define DISK "vda"

char *
scene_path (void)
{
  static char *folder; /* one for each test: they are forked */
  static unsigned number;
  if (folder == NULL)
    folder = bk_suite_folder ();
  return g_strdup_printf ("%s/repository-%u", folder, ++number);
}

BkRepository *
scene_create (const char *path, const BkRepositoryOptions *options)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_repository_create (path, options, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  return scene_open (path, options ? options->secret : NULL);
}

BkRepository *
scene_open (const char *path, const BkRepositorySecret *secret)
{
  g_autoptr (GError) error = NULL;
  BkRepository *repository = bk_repository_open (path, secret, BK_REPOSITORY_WRITE, &error);
  bk_assert_no_error (error);
  ck_assert_ptr_nonnull (repository);
  return repository;
}

/* --- models --- */

GByteArray *
scene_disk (size_t size)
{
  GByteArray *model = g_byte_array_new ();
  scene_resize (model, size);
  return model;
}

GByteArray *
scene_copy (const GByteArray *model)
{
  GByteArray *copy = g_byte_array_sized_new (model->len);
  return g_byte_array_append (copy, model->data, model->len);
}

void
scene_fill_random (GByteArray *model, size_t offset, size_t length, uint32_t seed)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (seed);
  for (size_t i = 0; i < length; i++)
    model->data[offset + i] = (uint8_t)g_rand_int (rand);
}

void
scene_fill_text (GByteArray *model, size_t offset, size_t length, uint32_t seed)
{
  g_autofree char *line = g_strdup_printf ("line %08x of a file that says the same thing over and over again\n", seed);
  for (size_t i = 0, n = strlen (line); i < length; i++)
    model->data[offset + i] = (uint8_t)line[i % n];
}

void
scene_fill_zero (GByteArray *model, size_t offset, size_t length)
{
  memset (model->data + offset, 0, length);
}

void
scene_scribble (GByteArray *model, GRand *rand)
{
  for (int strokes = g_rand_int_range (rand, 1, 8); strokes > 0; strokes--) {
    size_t offset = (size_t)g_rand_int_range (rand, 0, (int)model->len);
    size_t length = (size_t)g_rand_int_range (rand, 1, 300 * KIB);
    length = MIN (length, model->len - offset);
    switch (g_rand_int_range (rand, 0, 3)) {
    case 0:
      scene_fill_random (model, offset, length, g_rand_int (rand));
      break;
    case 1:
      scene_fill_text (model, offset, length, (uint32_t)g_rand_int_range (rand, 0, 4));
      break;
    default:
      scene_fill_zero (model, offset, length);
    }
  }
}

void
scene_resize (GByteArray *model, size_t size)
{
  size_t old = model->len;
  g_byte_array_set_size (model, (unsigned)size);
  if (size > old)
    memset (model->data + old, 0, size - old);
}

/* --- writing --- */

static bool
is_zero (const uint8_t *data, size_t length)
{
  return length == 0 || (data[0] == 0 && memcmp (data, data + 1, length - 1) == 0);
}

/* Whether the disk of the base, which reads as zeroes behind its end, holds the same there. */
static bool
is_as_before (const GByteArray *model, const GByteArray *old, size_t offset, size_t length)
{
  size_t common = old == NULL || offset >= old->len ? 0 : MIN (length, old->len - offset);
  return (common == 0 || memcmp (model->data + offset, old->data + offset, common) == 0) &&
         is_zero (model->data + offset + common, length - common);
}

static gboolean
write_block (BkSink *sink, unsigned worker, const GByteArray *model, const GByteArray *old, size_t offset, GError **error)
{
  size_t length = MIN (sink->block, model->len - offset);
  if (is_as_before (model, old, offset, length))
    return TRUE;
  if (is_zero (model->data + offset, length))
    return bk_sink_zero (sink, worker, offset, length, error);
  return bk_sink_write (sink, worker, offset, model->data + offset, length, error);
}

static gboolean
write_disk (BkSink *sink, const GByteArray *model, const GByteArray *old, GError **error)
{
  if (!bk_sink_open (sink, 2, NULL, error))
    return FALSE;
  for (size_t offset = 0, n = 0; offset < model->len; offset += sink->block, n++)
    if (!write_block (sink, n % 2, model, old, offset, error))
      return FALSE;
  return bk_sink_finish (sink, NULL, error);
}

/* @id is a letter and a number: the number is the time. */
static BkBackupInfo *
make_manifest (const char *id, const GByteArray *model)
{
  BkBackupInfo *manifest = g_new0 (BkBackupInfo, 1);
  BkBackupDisk *disk = g_new0 (BkBackupDisk, 1);
  manifest->version = 1;
  manifest->id = g_strdup (id);
  manifest->vm = g_strdup (VM);
  manifest->job_id = g_strdup ("J1");
  manifest->location = g_strdup ("");
  manifest->state = g_strdup ("completed");
  manifest->mode = g_strdup ("pull");
  manifest->point_in_time = (INT64_C (1700000000) + (int64_t)g_ascii_strtoull (id + 1, NULL, 10)) * G_USEC_PER_SEC;
  manifest->completed_at = manifest->point_in_time + G_USEC_PER_SEC;
  manifest->size = model->len;
  disk->name = g_strdup (DISK);
  disk->level = g_strdup ("full");
  disk->state = g_strdup ("completed");
  disk->size = model->len;
  manifest->disks = g_ptr_array_new ();
  g_ptr_array_add (manifest->disks, disk);
  return manifest;
}

gboolean
scene_backup (BkRepository *repository, const char *id, const GByteArray *model, const char *base, const GByteArray *old,
              BkRepositoryDisk *counters, GError **error)
{
  g_autoptr (BkBackupInfo) manifest = make_manifest (id, model);
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (repository, VM, id, error);
  if (writer == NULL)
    return FALSE;
  g_autoptr (BkSink) sink = bk_repository_writer_add_disk (writer, DISK, model->len, 0, base, error);
  if (sink == NULL || !write_disk (sink, model, base ? old : NULL, error))
    return FALSE;
  if (counters)
    ck_assert (bk_repository_writer_disk (writer, DISK, counters));
  return bk_repository_writer_commit (writer, manifest, error);
}

void
scene_must_backup (BkRepository *repository, const char *id, const GByteArray *model, const char *base, const GByteArray *old,
                   BkRepositoryDisk *counters)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = scene_backup (repository, id, model, base, old, counters, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

/* --- reading --- */

typedef struct {
  BkReader *reader;
  const GByteArray *model;
} Comparison;

static gboolean
compare_extent (uint64_t offset, uint64_t length, BkExtentKind kind, gpointer user_data, GError **error)
{
  const Comparison *comparison = user_data;
  const uint8_t *wanted = comparison->model->data + offset;
  if (kind == BK_EXTENT_CLEAN)
    return TRUE;
  if (kind == BK_EXTENT_ZERO) {
    ck_assert_msg (is_zero (wanted, length), "zero at %" G_GUINT64_FORMAT " where data belongs", offset);
    return TRUE;
  }
  g_autofree uint8_t *data = g_malloc (length);
  if (!bk_reader_read (comparison->reader, 0, offset, data, length, error))
    return FALSE;
  uint64_t same = 0;
  if (memcmp (data, wanted, length) != 0)
    while (data[same] == wanted[same])
      same++;
  else
    same = length;
  ck_assert_msg (same == length, "byte %" G_GUINT64_FORMAT " is not as it was", offset + same);
  return TRUE;
}

gboolean
scene_compare (BkRepository *repository, const char *id, const GByteArray *model, const char *base, GError **error)
{
  g_autoptr (BkReader) reader = bk_repository_open_disk (repository, VM, id, DISK, base, error);
  Comparison comparison = { reader, model };
  if (reader == NULL)
    return FALSE;
  ck_assert_uint_eq (reader->size, model->len);
  return bk_reader_open (reader, 1, NULL, error) && bk_reader_extents (reader, compare_extent, &comparison, NULL, error);
}

void
scene_assert_content (BkRepository *repository, const char *id, const GByteArray *model)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = scene_compare (repository, id, model, NULL, &error);
  ck_assert_msg (ok, "backup %s: %s", id, error ? error->message : "no error");
}

void
scene_assert_listed (BkRepository *repository, const char *wanted)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GPtrArray) backups = bk_repository_list (repository, &error);
  g_autoptr (GString) text = g_string_new (NULL);
  bk_assert_no_error (error);
  for (unsigned i = 0; i < backups->len; i++)
    g_string_append_printf (text, "%s%s", i > 0 ? " " : "", ((BkBackupInfo *)backups->pdata[i])->id);
  ck_assert_str_eq (text->str, wanted);
}

void
scene_must_delete (BkRepository *repository, const char *id)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_repository_delete (repository, VM, id, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

void
scene_must_gc (BkRepository *repository, BkRepositoryGc *result)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryGc counters = { 0 };
  gboolean ok = bk_repository_gc (repository, 0, FALSE, NULL, NULL, NULL, &counters, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  if (result)
    *result = counters;
}
