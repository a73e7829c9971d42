/* SPDX-License-Identifier: LGPL-2.1-or-later
 *
 * Who may be in a repository at once: processes, writers, readers and GC; the trash and pins; copies to another repository.
 */
#include "copy.h"
#include "history-scene.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs @work in another process; its result. */
static bool
elsewhere (bool (*work) (const char *path), const char *path)
{
  pid_t pid = fork ();
  if (pid == 0)
    _exit (work (path) ? 0 : 1);
  int status = 0;
  ck_assert_int_eq (waitpid (pid, &status, 0), pid);
  ck_assert (WIFEXITED (status));
  return WEXITSTATUS (status) == 0;
}

static bool
second_writer_is_refused (const char *path)
{
  g_autoptr (GError) error = NULL;
  BkRepository *repository = bk_repository_open (path, NULL, BK_REPOSITORY_WRITE, &error);
  return repository == NULL && g_error_matches (error, BK_ERROR, BK_ERROR_CONFLICT);
}

static bool
reader_reads (const char *path)
{
  g_autoptr (BkRepository) repository = bk_repository_open (path, NULL, BK_REPOSITORY_READ, NULL);
  return repository != NULL && bk_repository_has (repository, "web01", "B1");
}

START_TEST (one_process_writes_and_others_read)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  ck_assert (elsewhere (second_writer_is_refused, path));
  ck_assert (elsewhere (reader_reads, path));
  g_clear_pointer (&repository, bk_repository_unref);
  ck_assert (!elsewhere (second_writer_is_refused, path));
}
END_TEST

START_TEST (a_reader_writes_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) writer = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  scene_must_backup (writer, "B1", model, NULL, NULL, NULL);
  g_autoptr (BkRepository) reader = bk_repository_open (path, NULL, BK_REPOSITORY_READ, &error);
  bk_assert_no_error (error);
  ck_assert (!bk_repository_delete (reader, "web01", "B1", &error));
  ck_assert_ptr_nonnull (error);
  g_clear_error (&error);
  ck_assert_ptr_null (bk_repository_begin (reader, "web01", "B2", &error));
  ck_assert_ptr_nonnull (error);
  scene_assert_listed (writer, "B1");
}
END_TEST

START_TEST (what_is_not_a_repository)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autofree char *file = g_build_filename (path, "something", NULL);
  ck_assert (!bk_repository_is_one (path));
  ck_assert_ptr_null (bk_repository_open (path, NULL, BK_REPOSITORY_WRITE, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  ck_assert_int_eq (g_mkdir_with_parents (path, 0700), 0);
  ck_assert (g_file_set_contents (file, "x", 1, NULL));
  ck_assert_ptr_null (bk_repository_open (path, NULL, BK_REPOSITORY_WRITE, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (!bk_repository_create (path, NULL, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autofree char *other = scene_path ();
  ck_assert (!bk_repository_create (other, &(BkRepositoryOptions){ .chunk_size = 100000 }, &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (!g_file_test (other, G_FILE_TEST_EXISTS));
}
END_TEST

/* --- trash and pins --- */

START_TEST (the_trash_gives_back)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  BkRepositoryGc result;
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  scene_must_delete (repository, "B1");
  scene_assert_listed (repository, "");
  ck_assert (bk_repository_gc (repository, 3600, FALSE, NULL, NULL, NULL, &result, &error));
  ck_assert_uint_eq (result.trash_purged, 0);
  GPtrArray *trash = bk_repository_list_trash (repository, &error);
  bk_assert_no_error (error);
  ck_assert_uint_eq (trash->len, 1);
  ck_assert_str_eq (((BkRepositoryTrash *)trash->pdata[0])->backup, "B1");
  ck_assert_int_gt (((BkRepositoryTrash *)trash->pdata[0])->deleted_at, 0);
  g_ptr_array_unref (trash);
  ck_assert (bk_repository_undelete (repository, "web01", "B1", &error));
  scene_assert_content (repository, "B1", model);
  ck_assert (!bk_repository_undelete (repository, "web01", "B1", &error));
  ck_assert_ptr_nonnull (error);
}
END_TEST

START_TEST (a_pin_holds)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  ck_assert (bk_repository_pin (repository, "web01", "B1", TRUE, &error));
  ck_assert (bk_repository_pin (repository, "web01", "B1", TRUE, &error));
  g_clear_pointer (&repository, bk_repository_unref);
  repository = scene_open (path, NULL);
  ck_assert (bk_repository_is_pinned (repository, "web01", "B1"));
  ck_assert (!bk_repository_delete (repository, "web01", "B1", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  ck_assert (bk_repository_pin (repository, "web01", "B1", FALSE, &error));
  scene_must_delete (repository, "B1");
  ck_assert (!bk_repository_pin (repository, "web01", "B9", TRUE, &error));
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
}
END_TEST

/* --- GC beside others --- */

START_TEST (a_reader_keeps_what_it_reads)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  g_autofree uint8_t *data = g_malloc (MIB);
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  BkReader *reader = bk_repository_open_disk (repository, "web01", "B1", "vda", NULL, &error);
  ck_assert (bk_reader_open (reader, 1, NULL, &error));
  scene_must_delete (repository, "B1");
  scene_must_gc (repository, NULL);
  ck_assert (bk_reader_read (reader, 0, 0, data, MIB, &error));
  bk_assert_no_error (error);
  ck_assert_int_eq (memcmp (data, model->data, MIB), 0);
  bk_reader_free (reader);
  scene_must_gc (repository, NULL);
  ck_assert_uint_eq (bk_repository_bytes_stored (repository), 0);
}
END_TEST

/* The base, and what was found to be there, go from under a writer. */
START_TEST (a_writer_keeps_what_it_counts_on)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (repository, "web01", "B2", &error);
  g_autoptr (BkSink) sink = bk_repository_writer_add_disk (writer, "vda", MIB, 0, "B1", &error);
  g_autoptr (BkBackupInfo) manifest = bk_repository_read (repository, "web01", "B1", &error);
  bk_assert_no_error (error);
  ck_assert (bk_sink_open (sink, 1, NULL, &error));
  scene_must_delete (repository, "B1");
  scene_must_gc (repository, NULL);
  ck_assert (bk_sink_write (sink, 0, 0, model->data + MIB / 2, 64 * KIB, &error));
  scene_must_gc (repository, NULL);
  ck_assert (bk_sink_finish (sink, NULL, &error));
  scene_must_gc (repository, NULL);
  g_free (manifest->id);
  manifest->id = g_strdup ("B2");
  ck_assert_msg (bk_repository_writer_commit (writer, manifest, &error), "%s", error->message);
  scene_must_gc (repository, NULL);
  memcpy (model->data, model->data + MIB / 2, 64 * KIB);
  scene_assert_content (repository, "B2", model);
}
END_TEST

/* A backup that takes all but its first chunk from a base that is gone. */
typedef struct {
  BkRepository *repository;
  BkRepositoryWriter *writer;
  BkSink *sink;
  BkBackupInfo *manifest;
  GByteArray *model;
} Orphan;

static Orphan
make_orphan (BkRepository *repository)
{
  g_autoptr (GError) error = NULL;
  Orphan orphan = { .repository = repository, .model = scene_disk (MIB) };
  scene_fill_random (orphan.model, 0, MIB, 1);
  scene_must_backup (repository, "B1", orphan.model, NULL, NULL, NULL);
  orphan.writer = bk_repository_begin (repository, "web01", "B2", &error);
  orphan.sink = bk_repository_writer_add_disk (orphan.writer, "vda", MIB, 0, "B1", &error);
  orphan.manifest = bk_repository_read (repository, "web01", "B1", &error);
  bk_assert_no_error (error);
  g_free (orphan.manifest->id);
  orphan.manifest->id = g_strdup ("B2");
  scene_must_delete (repository, "B1");
  scene_fill_random (orphan.model, 0, 64 * KIB, 2);
  ck_assert (bk_sink_open (orphan.sink, 1, NULL, &error) && bk_sink_write (orphan.sink, 0, 0, orphan.model->data, 64 * KIB, &error) &&
             bk_sink_finish (orphan.sink, NULL, &error));
  return orphan;
}

static void
commit_orphan (Orphan *orphan)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = bk_repository_writer_commit (orphan->writer, orphan->manifest, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  g_clear_pointer (&orphan->sink, bk_sink_free);
  g_clear_pointer (&orphan->writer, bk_repository_writer_free);
}

static void
check_orphan (Orphan *orphan)
{
  scene_must_gc (orphan->repository, NULL);
  scene_assert_content (orphan->repository, "B2", orphan->model);
  bk_backup_info_free (orphan->manifest);
  g_byte_array_unref (orphan->model);
}

START_TEST (a_writer_keeps_its_base_without_its_sink)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  Orphan orphan = make_orphan (repository);
  g_clear_pointer (&orphan.sink, bk_sink_free);
  scene_must_gc (repository, NULL);
  commit_orphan (&orphan);
  check_orphan (&orphan);
}
END_TEST

static void
commit_once (uint64_t done G_GNUC_UNUSED, uint64_t total G_GNUC_UNUSED, gpointer user_data)
{
  Orphan *orphan = user_data;
  if (orphan->writer)
    commit_orphan (orphan);
}

/* Its manifest is too late for the list of GC, and its lease is over when that has read the others. */
START_TEST (a_commit_in_the_middle_of_gc_loses_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) other = scene_disk (64 * KIB);
  BkRepositoryGc result;
  scene_must_backup (repository, "B0", other, NULL, NULL, NULL);
  Orphan orphan = make_orphan (repository);
  ck_assert (bk_repository_gc (repository, 0, FALSE, commit_once, &orphan, NULL, &result, &error));
  ck_assert_ptr_null (orphan.writer);
  check_orphan (&orphan);
}
END_TEST

static BkRepositoryWriter *
begin_disk (BkRepository *repository, const char *id, const GByteArray *model, BkSink **sink)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryWriter *writer = bk_repository_begin (repository, "web01", id, &error);
  *sink = bk_repository_writer_add_disk (writer, "vda", model->len, 0, NULL, &error);
  bk_assert_no_error (error);
  ck_assert (bk_sink_open (*sink, 1, NULL, &error) && bk_sink_write (*sink, 0, 0, model->data, model->len, &error));
  return writer;
}

static void
commit_disk (BkRepositoryWriter *writer, const char *id, const GByteArray *model, BkSink *sink)
{
  g_autoptr (GError) error = NULL;
  BkBackupDisk disk = { .name = (char[]){ "vda" }, .level = (char[]){ "full" }, .state = (char[]){ "completed" }, .size = model->len };
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autofree char *copy = g_strdup (id);
  g_ptr_array_add (disks, &disk);
  BkBackupInfo info = { .version = 1, .id = copy, .vm = (char[]){ "web01" }, .job_id = (char[]){ "J1" }, .location = (char[]){ "" },
                        .state = (char[]){ "completed" }, .mode = (char[]){ "pull" }, .size = model->len, .disks = disks,
                        .point_in_time = 1700000000000000 };
  gboolean ok = bk_sink_finish (sink, NULL, &error) && bk_repository_writer_commit (writer, &info, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
  bk_sink_free (sink);
  bk_repository_writer_free (writer);
}

/* Two writers store the same before either has published it; the third counts on the copy of the first. */
START_TEST (a_second_copy_takes_nothing_from_who_found_the_first)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  BkSink *sinks[3];
  scene_fill_random (model, 0, MIB, 1);
  BkRepositoryWriter *first = begin_disk (repository, "B1", model, &sinks[0]);
  BkRepositoryWriter *second = begin_disk (repository, "B2", model, &sinks[1]);
  commit_disk (first, "B1", model, sinks[0]);
  BkRepositoryWriter *third = begin_disk (repository, "B3", model, &sinks[2]);
  commit_disk (second, "B2", model, sinks[1]);
  scene_must_delete (repository, "B1");
  scene_must_delete (repository, "B2");
  scene_must_gc (repository, NULL);
  commit_disk (third, "B3", model, sinks[2]);
  scene_must_gc (repository, NULL);
  scene_assert_content (repository, "B3", model);
}
END_TEST

typedef struct {
  BkRepository *repository;
  char letter;
  uint32_t seed;
  GByteArray *last;
  char id[16];
} Writer;

/* Backups that share much with one another, each of which replaces the one before. */
static gpointer
write_and_delete (gpointer data)
{
  Writer *writer = data;
  g_autoptr (GRand) rand = g_rand_new_with_seed (writer->seed);
  for (unsigned i = 1; i <= 12; i++) {
    char id[16];
    GByteArray *model = writer->last ? scene_copy (writer->last) : scene_disk (2 * MIB);
    g_snprintf (id, sizeof id, "%c%u", writer->letter, i);
    for (unsigned n = 0; n < 4; n++)
      scene_fill_random (model, (size_t)g_rand_int_range (rand, 0, 31) * 64 * KIB, 64 * KIB, (uint32_t)g_rand_int_range (rand, 0, 12));
    scene_must_backup (writer->repository, id, model, i % 3 && writer->last ? writer->id : NULL, writer->last, NULL);
    if (writer->last)
      scene_must_delete (writer->repository, writer->id);
    g_clear_pointer (&writer->last, g_byte_array_unref);
    writer->last = model;
    memcpy (writer->id, id, sizeof id);
    scene_assert_content (writer->repository, id, model);
  }
  return NULL;
}

static int stopped;

static gpointer
collect (gpointer data)
{
  while (!g_atomic_int_get (&stopped)) {
    scene_must_gc (data, NULL);
    g_usleep (2000);
  }
  return NULL;
}

START_TEST (writers_beside_gc)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  Writer writers[3];
  GThread *threads[3];
  GThread *gc = g_thread_new ("gc", collect, repository);
  for (unsigned i = 0; i < 3; i++) {
    writers[i] = (Writer){ .repository = repository, .letter = (char)('A' + i), .seed = i };
    threads[i] = g_thread_new ("writer", write_and_delete, &writers[i]);
  }
  for (unsigned i = 0; i < 3; i++)
    g_thread_join (threads[i]);
  g_atomic_int_set (&stopped, 1);
  g_thread_join (gc);
  g_clear_pointer (&repository, bk_repository_unref);
  repository = scene_open (path, NULL);
  scene_must_gc (repository, NULL);
  for (unsigned i = 0; i < 3; i++) {
    scene_assert_content (repository, writers[i].id, writers[i].last);
    g_byte_array_unref (writers[i].last);
  }
}
END_TEST

static void
cancel_at_first (uint64_t done G_GNUC_UNUSED, uint64_t total G_GNUC_UNUSED, gpointer cancellable)
{
  g_cancellable_cancel (cancellable);
}

START_TEST (a_cancelled_gc_loses_nothing)
{
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  GByteArray *models[4];
  g_autoptr (GError) error = NULL;
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  BkRepositoryGc result;
  for (unsigned i = 0; i < 4; i++) {
    char id[2] = { (char)('A' + i), 0 };
    models[i] = scene_disk (MIB);
    scene_fill_random (models[i], 0, MIB, i);
    scene_must_backup (repository, id, models[i], NULL, NULL, NULL);
  }
  scene_must_delete (repository, "A");
  uint64_t before = bk_repository_bytes_stored (repository);
  ck_assert (!bk_repository_gc (repository, 0, FALSE, cancel_at_first, cancellable, cancellable, &result, &error));
  bk_assert_error (error, BK_ERROR_CANCELLED);
  ck_assert_uint_eq (bk_repository_bytes_stored (repository), before);
  scene_assert_content (repository, "B", models[1]);
  scene_must_gc (repository, NULL);
  ck_assert_uint_lt (bk_repository_bytes_stored (repository), before);
  scene_assert_content (repository, "D", models[3]);
  for (unsigned i = 0; i < 4; i++)
    g_byte_array_unref (models[i]);
}
END_TEST

/* Into the trash and out of it, as fast as can be. */
static gpointer
throw_away_and_get_back (gpointer data)
{
  g_autoptr (GError) error = NULL;
  while (!g_atomic_int_get (&stopped)) {
    scene_must_delete (data, "B1");
    ck_assert_msg (bk_repository_undelete (data, "web01", "B1", &error), "%s", error ? error->message : "");
  }
  return NULL;
}

/* GC reads the list of backups and that of the trash; what moves from one to the other meanwhile must be in one of them. The
 * many others are there to make the lists long. */
START_TEST (a_delete_beside_gc_loses_nothing)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path ();
  g_autoptr (BkRepository) repository = scene_create (path, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  g_autoptr (GByteArray) empty = scene_disk (64 * KIB);
  BkRepositoryGc result;
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (repository, "B1", model, NULL, NULL, NULL);
  for (unsigned i = 0; i < 60; i++) {
    g_autofree char *id = g_strdup_printf ("C%u", i);
    scene_must_backup (repository, id, empty, NULL, NULL, NULL);
    if (i % 2)
      scene_must_delete (repository, id);
  }
  g_atomic_int_set (&stopped, 0);
  GThread *thread = g_thread_new ("delete", throw_away_and_get_back, repository);
  for (unsigned i = 0; i < 60; i++)
    ck_assert_msg (bk_repository_gc (repository, 3600, FALSE, NULL, NULL, NULL, &result, &error), "%s", error ? error->message : "");
  g_atomic_int_set (&stopped, 1);
  g_thread_join (thread);
  scene_assert_content (repository, "B1", model);
}
END_TEST

/* --- copies --- */

static gboolean
carry (BkRepositoryCopy *copy, uint64_t *read, GError **error)
{
  for (unsigned i = 0; i < bk_repository_copy_disks (copy); i++) {
    BkReader *reader = NULL;
    BkSink *sink = NULL;
    if (!bk_repository_copy_open (copy, i, &reader, &sink, error))
      return FALSE;
    g_autoptr (BkReader) from = reader;
    g_autoptr (BkSink) to = sink;
    g_autoptr (BkCopy) disk = bk_copy_new (from, to, NULL);
    if (!bk_copy_run (disk, NULL, error))
      return FALSE;
    *read = bk_copy_counters (disk).read;
  }
  return bk_repository_copy_commit (copy, error);
}

static gboolean
copy (BkRepository *from, BkRepository *to, const char *backup, const char *id, const char *base, const char *base_there, uint64_t *read, GError **error)
{
  const BkRepositoryCopyOf of = { "web01", backup, id, base, base_there };
  g_autoptr (BkRepositoryCopy) begun = bk_repository_copy_begin (from, to, &of, error);
  return begun && carry (begun, read, error);
}

static void
must_copy (BkRepository *from, BkRepository *to, const char *backup, const char *id, const char *base, const char *base_there, uint64_t *read)
{
  g_autoptr (GError) error = NULL;
  gboolean ok = copy (from, to, backup, id, base, base_there, read, &error);
  bk_assert_no_error (error);
  ck_assert (ok);
}

static void
assert_copy_of (BkRepository *repository, const char *id, const char *original)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkBackupInfo) info = bk_repository_read (repository, "web01", id, &error);
  bk_assert_no_error (error);
  ck_assert_str_eq (info->copy_of, original);
}

START_TEST (a_copy_holds_the_same)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path (), *other = scene_path ();
  BkRepositorySecret secret = { .passphrase = "other" };
  g_autoptr (BkRepository) from = scene_create (path, NULL);
  g_autoptr (BkRepository) to = scene_create (other, &(BkRepositoryOptions){ .chunk_size = 256 * KIB, .secret = &secret, .compression = 3 });
  g_autoptr (GByteArray) old = scene_disk (3 * MIB + 777);
  uint64_t read = 0;
  scene_fill_random (old, 0, MIB, 1);
  scene_fill_text (old, 2 * MIB, MIB, 2);
  g_autoptr (GByteArray) model = scene_copy (old);
  scene_fill_random (model, MIB / 2, 100, 3);
  scene_must_backup (from, "B1", old, NULL, NULL, NULL);
  scene_must_backup (from, "B2", model, "B1", old, NULL);
  must_copy (from, to, "B1", "C1", NULL, NULL, &read);
  ck_assert_uint_ge (read, 2 * MIB);
  must_copy (from, to, "B2", "C2", "B1", "C1", &read);
  ck_assert_uint_le (read, 64 * KIB); /* the rest is as in the base */
  scene_assert_content (to, "C1", old);
  scene_assert_content (to, "C2", model);
  scene_assert_listed (to, "C1 C2");
  assert_copy_of (to, "C2", "B2");
  ck_assert (!copy (from, to, "B2", "C2", NULL, NULL, &read, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  /* And back, where it is one of the original. */
  must_copy (to, from, "C2", "D2", NULL, NULL, &read);
  assert_copy_of (from, "D2", "B2");
  scene_must_delete (from, "B2");
  scene_must_gc (from, NULL);
  scene_assert_content (from, "D2", model);
}
END_TEST

START_TEST (a_copy_that_is_given_up_is_not_there)
{
  g_autoptr (GError) error = NULL;
  g_autofree char *path = scene_path (), *other = scene_path ();
  g_autoptr (BkRepository) from = scene_create (path, NULL);
  g_autoptr (BkRepository) to = scene_create (other, NULL);
  g_autoptr (GByteArray) model = scene_disk (MIB);
  const BkRepositoryCopyOf of = { "web01", "B1", "C1", NULL, NULL };
  BkReader *reader = NULL;
  BkSink *sink = NULL;
  scene_fill_random (model, 0, MIB, 1);
  scene_must_backup (from, "B1", model, NULL, NULL, NULL);
  BkRepositoryCopy *begun = bk_repository_copy_begin (from, to, &of, &error);
  ck_assert (bk_repository_copy_open (begun, 0, &reader, &sink, &error));
  bk_repository_copy_free (begun);
  bk_reader_free (reader);
  bk_sink_free (sink);
  scene_assert_listed (to, "");
  scene_must_gc (to, NULL);
  ck_assert_uint_eq (bk_repository_bytes_stored (to), 0);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { one_process_writes_and_others_read, a_reader_writes_nothing, what_is_not_a_repository, the_trash_gives_back,
                                 a_pin_holds, a_reader_keeps_what_it_reads, a_writer_keeps_what_it_counts_on,
                                 a_writer_keeps_its_base_without_its_sink, a_commit_in_the_middle_of_gc_loses_nothing,
                                 a_second_copy_takes_nothing_from_who_found_the_first, writers_beside_gc, a_cancelled_gc_loses_nothing, a_delete_beside_gc_loses_nothing,
                                 a_copy_holds_the_same, a_copy_that_is_given_up_is_not_there, NULL };
  return bk_suite_run ("repository-beside", tests);
}
