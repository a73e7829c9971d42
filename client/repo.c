/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "command.h"
#include "follow.h"

static const BkColumn list_columns[] = {
  { "NAME", BK_CELL_TEXT, "name" },     { "TYPE", BK_CELL_TEXT, "type" },
  { "STATE", BK_CELL_STATE, "state" },  { "BACKUPS", BK_CELL_TEXT, "backups" },
  { "STORED", BK_CELL_SIZE, "bytes_stored" }, { "FREE", BK_CELL_SIZE, "bytes_free" },
  { "PATH", BK_CELL_TEXT, "path" },     { NULL },
};

static const BkColumn details[] = {
  { "Name", BK_CELL_TEXT, "name" },
  { "Type", BK_CELL_TEXT, "type" },
  { "Path", BK_CELL_TEXT, "path" },
  { "State", BK_CELL_STATE, "state" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "Backups", BK_CELL_TEXT, "backups" },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "Free", BK_CELL_SIZE, "bytes_free" },
  { "Created", BK_CELL_TEXT, "created_at" },
  { NULL },
};

/* "3.2 : 1", or NULL when there is nothing to compare. */
static char *
ratio (uint64_t before, uint64_t after)
{
  char number[G_ASCII_DTOSTR_BUF_SIZE];
  if (before == 0 || after == 0)
    return NULL;
  g_ascii_formatd (number, sizeof number, "%.1f", (double)before / (double)after);
  return g_strdup_printf ("%s : 1", number);
}

/* 0 is what a repository has that was made without asking for a level. */
static char *
level_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  return g_strdup_printf ("%" G_GUINT64_FORMAT, (guint64)MAX (repository->compression, 1));
}

static char *
dedup_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  return ratio (repository->bytes_logical, repository->bytes_unique);
}

static char *
compression_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  return ratio (repository->bytes_unique, repository->bytes_stored);
}

static char *
damage_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  if (repository->damaged_chunks == 0)
    return g_strdup ("none known");
  return g_strdup_printf ("%" G_GUINT64_FORMAT " chunks; 'backup list' marks the backups", (guint64)repository->damaged_chunks);
}

static char *
verified_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  if (repository->verified_at == 0)
    return g_strdup ("never as a whole");
  g_autoptr (GDateTime) time = g_date_time_new_from_unix_local (repository->verified_at / G_USEC_PER_SEC);
  return time ? g_date_time_format (time, "%Y-%m-%d %H:%M:%S") : NULL;
}

static char *
classes_cell (gconstpointer item)
{
  const BkRepositoryInfo *repository = item;
  g_autoptr (GString) text = g_string_new (NULL);
  for (unsigned i = 0; repository->class_chunk_sizes && i < repository->class_chunk_sizes->len; i++) {
    const BkClassChunkSize *size = repository->class_chunk_sizes->pdata[i];
    g_autofree char *bytes = bk_size_format (size->chunk_size);
    g_string_append_printf (text, "%s%s %s", i ? ", " : "", size->class_name, bytes);
  }
  return text->len ? g_string_free (g_steal_pointer (&text), FALSE) : NULL;
}

static const BkColumn dedup_details[] = {
  { "Name", BK_CELL_TEXT, "name" },
  { "Type", BK_CELL_TEXT, "type" },
  { "Path", BK_CELL_TEXT, "path" },
  { "State", BK_CELL_STATE, "state" },
  { "Reason", BK_CELL_TEXT, "reason" },
  { "Encryption", BK_CELL_TEXT, "encryption" },
  { "Passphrase file", BK_CELL_TEXT, "passphrase_file" },
  { "Key file", BK_CELL_TEXT, "key_file" },
  { "Chunk size", BK_CELL_SIZE, "chunk_size" },
  { "Chunk size by class", BK_CELL_TEXT, NULL, classes_cell },
  { "Compression level", BK_CELL_TEXT, NULL, level_cell },
  { "Backups", BK_CELL_TEXT, "backups" },
  { "In the trash", BK_CELL_TEXT, "trash" },
  { "Logical", BK_CELL_SIZE, "bytes_logical" },
  { "Unique", BK_CELL_SIZE, "bytes_unique" },
  { "Stored", BK_CELL_SIZE, "bytes_stored" },
  { "Deduplication", BK_CELL_TEXT, NULL, dedup_cell },
  { "Compression", BK_CELL_TEXT, NULL, compression_cell },
  { "Chunks", BK_CELL_TEXT, "chunks" },
  { "Packs", BK_CELL_TEXT, "packs" },
  { "gc would free", BK_CELL_SIZE, "bytes_reclaimable" },
  { "Free", BK_CELL_SIZE, "bytes_free" },
  { "Damage", BK_CELL_TEXT, NULL, damage_cell },
  { "Verified", BK_CELL_TEXT, NULL, verified_cell },
  { "Created", BK_CELL_TEXT, "created_at" },
  { NULL },
};

/* "a=64K" becomes a number, as it is in the API. */
static gboolean
add_class_chunk_size (json_object *list, const char *name, const char *text, GError **error)
{
  uint64_t size = 0;
  if (!bk_size_parse (text, &size, error)) {
    g_prefix_error (error, "option '--class-chunk-size': ");
    return FALSE;
  }
  json_object *item = json_object_new_object ();
  json_object_object_add (item, "class", json_object_new_string (name));
  json_object_object_add (item, "chunk_size", json_object_new_uint64 (size));
  json_object_array_add (list, item);
  return TRUE;
}

static gboolean
number_class_chunk_sizes (json_object *body, GError **error)
{
  json_object *map = NULL;
  if (!json_object_object_get_ex (body, "class_chunk_sizes", &map))
    return TRUE;
  g_autoptr (json_object) list = json_object_new_array ();
  json_object_object_foreach (map, name, text)
    if (!add_class_chunk_size (list, name, json_object_get_string (text), error))
      return FALSE;
  json_object_object_add (body, "class_chunk_sizes", g_steal_pointer (&list));
  return TRUE;
}

static gboolean
add (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autoptr (json_object) body = bk_args_body (args);
  if (!number_class_chunk_sizes (body, error))
    return FALSE;
  g_autoptr (BkRepositoryInfo) repository =
      bk_connection_read (connection, "POST", "/v1/repositories", body, &bk_repository_info_struct, &json, error);
  if (repository == NULL)
    return FALSE;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_line (output, "added repository %s at %s", repository->name, repository->path);
  return TRUE;
}

static gboolean
list (const BkArgs *args G_GNUC_UNUSED, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = bk_connection_list (connection, "/v1/repositories", 0, error);
  return json && bk_output_list (output, &bk_repository_info_struct, json, list_columns, error);
}

static gboolean
show (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = NULL;
  g_autofree char *path = bk_args_path (args, "/v1/repositories", "NAME", NULL);
  g_autoptr (BkRepositoryInfo) repository =
      bk_connection_read (connection, "GET", path, NULL, &bk_repository_info_struct, &json, error);
  if (repository == NULL)
    return FALSE;
  bool dedup = g_strcmp0 (repository->type, "dedup") == 0;
  if (bk_output_is_json (output))
    bk_output_json (output, json);
  else
    bk_output_details (output, &bk_repository_info_struct, repository, dedup ? dedup_details : details);
  return TRUE;
}

static json_object *
submit (const BkArgs *args, BkConnection *connection, const char *kind, GError **error)
{
  g_autoptr (json_object) body = bk_args_body (args);
  json_object_object_add (body, "kind", json_object_new_string (kind));
  return bk_connection_call (connection, "POST", "/v1/jobs", body, error);
}

static gboolean
verify (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = submit (args, connection, "verify", error);
  return json && bk_follow_started (args, connection, output, json, error);
}

/* The answer is what is asked for, not the job: it is waited for in any case. */
static gboolean
show_garbage (BkConnection *connection, BkOutput *output, json_object *json, GError **error)
{
  g_autoptr (BkJobInfo) job = bk_follow_read (json, error);
  if (job == NULL)
    return FALSE;
  g_autoptr (json_object) last = NULL;
  gboolean ok = bk_follow (connection, output, job, &last, error);
  if (last && bk_output_is_json (output))
    bk_output_json (output, last);
  if (!ok || bk_output_is_json (output))
    return ok;
  g_autoptr (BkJobInfo) end = bk_follow_read (last, error);
  if (end == NULL)
    return FALSE;
  g_autofree char *size = bk_size_format (end->bytes_total);
  bk_output_line (output, "gc would free %s", size);
  return TRUE;
}

static gboolean
gc (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  g_autoptr (json_object) json = submit (args, connection, "gc", error);
  if (json && bk_args_has (args, "dry-run"))
    return show_garbage (connection, output, json, error);
  return json && bk_follow_started (args, connection, output, json, error);
}

static gboolean
remove_repository (const BkArgs *args, BkConnection *connection, BkOutput *output, GError **error)
{
  static const BkCommandDelete delete = { "/v1/repositories", "NAME", "removed repository", "; its files are kept" };
  return bk_command_delete (args, connection, output, &delete, error);
}

static const BkOption add_options[] = {
  { "path", BK_OPTION_PATH, "DIR", NULL, "path", true, "its folder" },
  { "type", BK_OPTION_WORD, NULL, bk_repo_types, "type", false, "how backups are stored; a new one otherwise dedup" },
  { "chunk-size", BK_OPTION_SIZE, "SIZE", NULL, "chunk_size", false, "dedup: 64K (otherwise) to 4M, a power of two" },
  { "class-chunk-size", BK_OPTION_MAP, "CLASS=SIZE,...", NULL, "class_chunk_sizes", false,
    "dedup: for disks of a class: database=64K,media=4M" },
  { "compression", BK_OPTION_COUNT, "LEVEL", NULL, "compression", false, "dedup: 1 (fast; otherwise) to 19 (small)" },
  { "passphrase-file", BK_OPTION_PATH, "FILE", NULL, "passphrase_file", false,
    "dedup: encrypt, with the passphrase in FILE" },
  { "key-file", BK_OPTION_PATH, "FILE", NULL, "key_file", false, "dedup: encrypt, with the key in FILE" },
  { NULL },
};

static const BkOption verify_options[] = {
  { "speed", BK_OPTION_SIZE, "BYTES/S", NULL, "speed", false, "limit: 10M, 1.5G; 0 is none" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOption gc_options[] = {
  { "dry-run", BK_OPTION_FLAG, NULL, NULL, "dry_run", false, "only tell how much would be freed" },
  { "id", BK_OPTION_TEXT, "ID", NULL, "id", false, "your own ID for the job: 1-64 of A-Z a-z 0-9 . _ -" },
  { "wait", BK_OPTION_FLAG, NULL, NULL, NULL, false, "follow the job and end with its result" },
  { NULL },
};

static const BkOperand name_operand[] = { { "NAME", BK_OPTION_TEXT, "name" }, { NULL } };
static const BkOperand repository_operand[] = { { "NAME", BK_OPTION_TEXT, "repository" }, { NULL } };

const BkCommand bk_repo_commands[] = {
  { "repo add", "make a repository known, and its folder if it is missing", add_options, name_operand, add },
  { "repo list", "list repositories", NULL, NULL, list },
  { "repo show", "show a repository: what it holds, what its backups share", NULL, name_operand, show },
  { "repo verify", "read and check all that a repository holds; prints the job's ID", verify_options, repository_operand, verify },
  { "repo gc", "give space back that no backup needs any more; prints the job's ID", gc_options, repository_operand, gc },
  { "repo remove", "forget a repository; its files are kept", NULL, name_operand, remove_repository },
  { NULL },
};
