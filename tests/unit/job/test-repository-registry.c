/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repository-registry.h"
#include "archive.h"
#include "repository.h"
#include "suite.h"

#include <glib/gstdio.h>
#include <string.h>

typedef struct {
  char *folder;
  BkCatalog *catalog;
  BkRepositoryRegistry *registry;
} Bench;

/* A daemon's start on @folder. */
static Bench *
bench_new (const char *folder)
{
  g_autoptr (GError) error = NULL;
  Bench *bench = g_new0 (Bench, 1);
  bench->folder = g_strdup (folder);
  bench->catalog = bk_catalog_open (folder, &error);
  bk_assert_no_error (error);
  bench->registry = bk_repository_registry_new (bench->catalog);
  ck_assert (bk_repository_registry_load (bench->registry, folder, &error));
  bk_assert_no_error (error);
  return bench;
}

static void
bench_free (Bench *bench)
{
  bk_repository_registry_free (bench->registry);
  bk_catalog_close (bench->catalog);
  g_free (bench->folder);
  g_free (bench);
}

static Bench *
bench_start (void)
{
  g_autofree char *folder = bk_suite_folder ();
  return bench_new (folder);
}

static Bench *
bench_restart (Bench *bench)
{
  g_autofree char *folder = g_strdup (bench->folder);
  bench_free (bench);
  return bench_new (folder);
}

static gboolean
add_type (Bench *bench, const char *name, const char *path, const char *type, GError **error)
{
  const BkRepositoryInfo request = { .name = (char *)name, .path = (char *)path, .type = (char *)type };
  return bk_repository_registry_add (bench->registry, &request, error);
}

static gboolean
add (Bench *bench, const char *name, const char *path, GError **error)
{
  return add_type (bench, name, path, NULL, error);
}

static void
commit_manifest (BkStore *store, const BkBackupInfo *manifest, GError **error)
{
  if (!bk_store_is_dedup (store)) {
    ck_assert (bk_archive_begin (bk_store_archive (store), manifest->vm, manifest->id, error));
    ck_assert (bk_archive_commit (bk_store_archive (store), manifest, error));
    return;
  }
  g_autoptr (BkRepositoryWriter) writer = bk_repository_begin (bk_store_repository (store), manifest->vm, manifest->id, error);
  ck_assert_ptr_nonnull (writer);
  ck_assert (bk_repository_writer_commit (writer, manifest, error));
}

/* Puts a backup without disks into the repository @name, and not into the catalog. */
static void
commit_backup (Bench *bench, const char *name, const char *id)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (BkStore) store = bk_repository_registry_open (bench->registry, name, &error);
  bk_assert_no_error (error);
  g_autoptr (BkBackupInfo) manifest = g_new0 (BkBackupInfo, 1);
  manifest->version = 1;
  manifest->id = g_strdup (id);
  manifest->vm = g_strdup ("web01");
  manifest->state = g_strdup ("completed");
  manifest->point_in_time = 1795402320LL * G_USEC_PER_SEC;
  manifest->bytes_stored = 1000;
  manifest->disks = g_ptr_array_new ();
  commit_manifest (store, manifest, &error);
  bk_assert_no_error (error);
}

static BkRepositoryInfo *
info (Bench *bench, const char *name)
{
  g_autoptr (GError) error = NULL;
  BkRepositoryInfo *found = bk_repository_registry_info (bench->registry, name, &error);
  bk_assert_no_error (error);
  return found;
}

static void
assert_info (Bench *bench, const char *name, const char *state, uint64_t backups)
{
  g_autoptr (BkRepositoryInfo) found = info (bench, name);
  ck_assert_str_eq (found->state, state);
  ck_assert_uint_eq (found->backups, backups);
}

START_TEST (makes_one_when_there_is_none)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autoptr (BkRepositoryInfo) found = info (bench, "default");
  g_autofree char *path = g_build_filename (bench->folder, "default", NULL);
  ck_assert_str_eq (found->path, path);
  ck_assert_str_eq (found->type, "dedup");
  ck_assert_str_eq (found->encryption, "none");
  ck_assert_str_eq (found->state, "ok");
  ck_assert_uint_gt (found->bytes_free, 0);
  g_autofree char *other = g_build_filename (bench->folder, "other", NULL);
  ck_assert (add (bench, "other", other, &error));
  ck_assert (bk_repository_registry_remove (bench->registry, "default", &error));
  bench = bench_restart (bench);
  ck_assert_msg (bk_repository_registry_open (bench->registry, NULL, &error) == NULL, "default came back");
  ck_assert_str_eq (error->message, "no repository 'default'; there is other");
  bk_assert_error (error, BK_ERROR_NOT_FOUND);
  bench_free (bench);
}
END_TEST

START_TEST (takes_over_what_is_on_disk)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  commit_backup (bench, NULL, "b1");
  assert_info (bench, "default", "ok", 0);
  bench = bench_restart (bench);
  assert_info (bench, "default", "ok", 1);
  g_autoptr (BkBackupInfo) backup = bk_catalog_get_backup (bench->catalog, "b1", &error);
  bk_assert_no_error (error);
  g_autofree char *location = g_build_filename (bench->folder, "default", "backups", "web01", "b1", NULL);
  ck_assert_str_eq (backup->repository, "default");
  ck_assert_str_eq (backup->location, location);
  bench_free (bench);
}
END_TEST

START_TEST (takes_over_a_repository_that_was_removed)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "default", NULL);
  commit_backup (bench, "default", "b1");
  ck_assert (bk_repository_registry_remove (bench->registry, "default", &error));
  ck_assert (add (bench, "again", path, &error));
  bk_assert_no_error (error);
  assert_info (bench, "again", "ok", 1);
  bench_free (bench);
}
END_TEST

START_TEST (keeps_rows_of_what_is_away)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  commit_backup (bench, "default", "b1");
  bench = bench_restart (bench);
  g_autofree char *path = g_build_filename (bench->folder, "default", NULL);
  g_autofree char *away = g_strconcat (path, ".away", NULL);
  ck_assert_int_eq (g_rename (path, away), 0);
  ck_assert_int_eq (g_mkdir (path, 0700), 0); /* the mount point that is left */
  assert_info (bench, "default", "unreachable", 1);
  ck_assert_ptr_null (bk_repository_registry_open (bench->registry, "default", &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  bench = bench_restart (bench);
  assert_info (bench, "default", "unreachable", 1);
  ck_assert_ptr_null (bk_repository_registry_open (bench->registry, "default", &error));
  bk_assert_error (error, BK_ERROR_UNREACHABLE);
  ck_assert_int_eq (g_rmdir (path), 0);
  ck_assert_int_eq (g_rename (away, path), 0);
  g_autoptr (BkStore) store = bk_repository_registry_open (bench->registry, "default", &error);
  bk_assert_no_error (error);
  assert_info (bench, "default", "ok", 1);
  bench_free (bench);
}
END_TEST

START_TEST (a_copied_backup_stays_where_it_is_known)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "second", NULL);
  ck_assert (add (bench, "second", path, &error));
  commit_backup (bench, "default", "b1");
  bench = bench_restart (bench);
  commit_backup (bench, "second", "b1");
  bench = bench_restart (bench);
  assert_info (bench, "default", "ok", 1);
  assert_info (bench, "second", "ok", 0);
  bench_free (bench);
}
END_TEST

START_TEST (refuses_what_is_no_repository)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "stuff", NULL);
  g_autofree char *file = g_build_filename (path, "letter", NULL);
  ck_assert_int_eq (g_mkdir (path, 0700), 0);
  ck_assert (g_file_set_contents (file, "x", 1, NULL));
  ck_assert (!add (bench, "stuff", path, &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  g_autoptr (GPtrArray) list = bk_repository_registry_list (bench->registry);
  ck_assert_uint_eq (list->len, 1);
  ck_assert (!add (bench, ".hidden", "/x", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  ck_assert (!add (bench, "r", "x", &error));
  bk_assert_error (error, BK_ERROR_INVALID);
  bench_free (bench);
}
END_TEST

START_TEST (one_of_type_qcow2_stays_what_it_is)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "images", NULL);
  ck_assert (add_type (bench, "images", path, "qcow2", &error));
  commit_backup (bench, "images", "b1");
  bench = bench_restart (bench);
  assert_info (bench, "images", "ok", 1);
  ck_assert (bk_repository_registry_remove (bench->registry, "images", &error));
  ck_assert (add (bench, "again", path, &error));
  bk_assert_no_error (error);
  assert_info (bench, "again", "ok", 1);
  g_autoptr (BkRepositoryInfo) found = info (bench, "again");
  ck_assert_str_eq (found->type, "qcow2");
  g_autofree char *other = g_build_filename (bench->folder, "default", NULL);
  ck_assert (bk_repository_registry_remove (bench->registry, "default", &error));
  ck_assert (!add_type (bench, "wrong", other, "qcow2", &error));
  bk_assert_error (error, BK_ERROR_CONFLICT);
  bench_free (bench);
}
END_TEST

START_TEST (is_locked_without_its_secret)
{
  Bench *bench = bench_start ();
  g_autoptr (GError) error = NULL;
  g_autofree char *path = g_build_filename (bench->folder, "vault", NULL);
  g_autofree char *secret = g_build_filename (bench->folder, "secret", NULL);
  const BkRepositoryInfo request = { .name = (char *)"vault", .path = path, .passphrase_file = secret, .chunk_size = 131072 };
  ck_assert (!bk_repository_registry_add (bench->registry, &request, &error));
  bk_assert_error (error, BK_ERROR_DENIED);
  ck_assert (g_file_set_contents (secret, "battery staple\n", -1, NULL));
  ck_assert (bk_repository_registry_add (bench->registry, &request, &error));
  commit_backup (bench, "vault", "b1");
  ck_assert (g_file_set_contents (secret, "wrong\n", -1, NULL));
  bench = bench_restart (bench);
  assert_info (bench, "vault", "locked", 0);
  ck_assert_ptr_null (bk_repository_registry_open (bench->registry, "vault", &error));
  ck_assert_ptr_nonnull (strstr (error->message, "repository 'vault' is locked"));
  bk_assert_error (error, BK_ERROR_DENIED);
  ck_assert (g_file_set_contents (secret, "battery staple", -1, NULL));
  g_autoptr (BkStore) store = bk_repository_registry_open (bench->registry, "vault", &error);
  bk_assert_no_error (error);
  assert_info (bench, "vault", "ok", 1);
  g_autoptr (BkRepositoryInfo) found = info (bench, "vault");
  ck_assert_str_eq (found->encryption, "passphrase");
  ck_assert_uint_eq (found->chunk_size, 131072);
  bench_free (bench);
}
END_TEST

START_TEST (refuses_members_that_do_not_go_together)
{
  static const struct {
    BkRepositoryInfo request;
    const char *message;
  } rows[] = {
    { { .type = (char *)"tape" }, "/type: 'tape' is no type of repository; choose one of: dedup, qcow2" },
    { { .type = (char *)"qcow2", .chunk_size = 65536 }, "/chunk_size: goes with type dedup only" },
    { { .type = (char *)"qcow2", .compression = 3 }, "/compression: goes with type dedup only" },
    { { .type = (char *)"qcow2", .key_file = (char *)"/key" }, "not encrypted" },
    { { .chunk_size = 65537 }, "/chunk_size: must be a power of two" },
    { { .chunk_size = 8 << 20 }, "/chunk_size: must be a power of two" },
    { { .compression = 20 }, "/compression: must be from 1 to 19" },
    { { .key_file = (char *)"key" }, "/key_file: must be an absolute path" },
    { { .key_file = (char *)"/key", .passphrase_file = (char *)"/passphrase" }, "give one of them" },
  };
  Bench *bench = bench_start ();
  g_autofree char *path = g_build_filename (bench->folder, "none", NULL);
  for (size_t i = 0; i < G_N_ELEMENTS (rows); i++) {
    g_autoptr (GError) error = NULL;
    BkRepositoryInfo request = rows[i].request;
    request.name = (char *)"none";
    request.path = path;
    ck_assert (!bk_repository_registry_add (bench->registry, &request, &error));
    ck_assert_msg (strstr (error->message, rows[i].message) != NULL, "%s", error->message);
    bk_assert_error (error, BK_ERROR_INVALID);
    ck_assert (!g_file_test (path, G_FILE_TEST_EXISTS));
  }
  bench_free (bench);
}
END_TEST

int
main (void)
{
  const TTest *const tests[] = { makes_one_when_there_is_none, takes_over_what_is_on_disk,
                                 takes_over_a_repository_that_was_removed, keeps_rows_of_what_is_away,
                                 a_copied_backup_stays_where_it_is_known, refuses_what_is_no_repository, one_of_type_qcow2_stays_what_it_is,
                                 is_locked_without_its_secret, refuses_members_that_do_not_go_together, NULL };
  return bk_suite_run ("repository-registry", tests);
}
