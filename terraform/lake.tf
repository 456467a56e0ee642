# Where the data lies: the bucket and its key, and the Glue databases that are the Iceberg namespaces.
# Not here: tables. The pipeline makes them from the contracts.

locals {
  # One a layer that is stored in Iceberg, and `rejected`; the adapter's namespaces are these names as they are, so an account
  # and region hold one QuantLake.
  namespaces = ["raw", "curated", "derived", "feature", "rejected"]

  lake_prefix         = "lake"
  compute_logs_prefix = "dagster/compute-logs"
  warehouse           = "s3://${aws_s3_bucket.lake.bucket}/${local.lake_prefix}"
}

resource "aws_kms_key" "lake" {
  description             = "Encrypts the QuantLake bucket."
  enable_key_rotation     = true
  deletion_window_in_days = 30

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket" "lake" {
  bucket        = var.bucket_name
  force_destroy = false

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_s3_bucket_versioning" "lake" {
  bucket = aws_s3_bucket.lake.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    bucket_key_enabled = true # one KMS call a bucket key instead of one an object

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.lake.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "lake" {
  bucket                  = aws_s3_bucket.lake.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "lake" {
  bucket = aws_s3_bucket.lake.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.lake.arn, "${aws_s3_bucket.lake.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.lake]
}

resource "aws_s3_bucket_lifecycle_configuration" "lake" {
  bucket = aws_s3_bucket.lake.id

  rule {
    id     = "old-versions-and-torn-uploads"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_version_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  depends_on = [aws_s3_bucket_versioning.lake]
}

resource "aws_glue_catalog_database" "namespace" {
  for_each = toset(local.namespaces)

  name         = each.key
  description  = "QuantLake: Iceberg tables of ${each.key}."
  location_uri = "${local.warehouse}/${each.key}"
}
