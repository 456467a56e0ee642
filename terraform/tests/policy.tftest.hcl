# `terraform test` from terraform/: plans with a mocked provider, so it needs neither an account nor a network.

mock_provider "aws" {
  override_during = plan

  mock_resource "aws_s3_bucket" {
    defaults = {
      id  = "acme-quantlake"
      arn = "arn:aws:s3:::acme-quantlake"
    }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:111122223333:key/0a1b" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::111122223333:role/quantlake" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "111122223333" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  region       = "eu-west-1"
  bucket_name  = "acme-quantlake"
  cluster_name = "research"
}

run "bucket_is_private_and_kept" {
  command = plan

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.lake.block_public_acls, aws_s3_bucket_public_access_block.lake.block_public_policy,
      aws_s3_bucket_public_access_block.lake.ignore_public_acls, aws_s3_bucket_public_access_block.lake.restrict_public_buckets,
    ])
    error_message = "All four public-access blocks must be on."
  }
  assert {
    condition     = aws_s3_bucket.lake.force_destroy == false
    error_message = "The lake's bucket must not be destroyed with its data."
  }
  assert {
    condition     = aws_s3_bucket_versioning.lake.versioning_configuration[0].status == "Enabled"
    error_message = "The bucket must be versioned."
  }
  assert {
    condition     = one([for r in aws_s3_bucket_server_side_encryption_configuration.lake.rule : one(r.apply_server_side_encryption_by_default).kms_master_key_id]) == aws_kms_key.lake.arn
    error_message = "Objects must be encrypted with the lake's own key."
  }
  assert {
    condition     = aws_kms_key.lake.enable_key_rotation && aws_kms_key.lake.deletion_window_in_days == 30
    error_message = "The key must rotate, and its deletion must leave 30 days to think again."
  }
}

run "only_tls" {
  command = plan

  assert {
    condition = jsondecode(aws_s3_bucket_policy.lake.policy).Statement == [{
      Sid       = "OnlyTLS"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = ["arn:aws:s3:::acme-quantlake", "arn:aws:s3:::acme-quantlake/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
    error_message = "The bucket policy must deny everything without TLS, and allow nothing."
  }
}

run "roles_reach_no_further" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for p in aws_iam_role_policy.pod : [for s in jsondecode(p.policy).Statement : [for a in s.Action : !strcontains(a, "*")]]
    ]))
    error_message = "No action of a pod's role may be a wildcard."
  }
  assert {
    condition = alltrue(flatten([
      for p in aws_iam_role_policy.pod : [for s in jsondecode(p.policy).Statement : [
        for r in s.Resource : startswith(r, "arn:aws:s3:::acme-quantlake") || r == aws_kms_key.lake.arn ||
        can(regex("^arn:aws:glue:eu-west-1:111122223333:(catalog|(database|table)/(raw|curated|derived|feature|rejected)(/\\*)?)$", r))
      ]]
    ]))
    error_message = "A pod's role may name only the lake's bucket, its key and the layers' Glue databases."
  }
  assert {
    condition = alltrue(flatten([
      for p in aws_iam_role_policy.pod : [for s in jsondecode(p.policy).Statement : [
        for a in s.Action : !contains(["s3:DeleteObjectVersion", "s3:PutBucketPolicy", "glue:DeleteTable", "glue:DeleteDatabase"], a)
      ]]
    ]))
    error_message = "A pod may neither erase history, nor open the bucket, nor drop tables."
  }
  assert {
    condition = alltrue(flatten([
      for s in jsondecode(aws_iam_role_policy.pod["dagster"].policy).Statement : [
        for r in s.Resource : !strcontains(r, "/lake/") && !startswith(r, "arn:aws:glue")
      ]
    ]))
    error_message = "Dagster's own pods have no business in the data."
  }
}

run "only_the_named_pods_assume_them" {
  command = plan

  assert {
    condition = jsondecode(aws_iam_role.pod["pipeline"].assume_role_policy).Statement[0] == {
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = {
          "aws:RequestTag/eks-cluster-name"           = "research"
          "aws:RequestTag/kubernetes-namespace"       = "quantlake"
          "aws:RequestTag/kubernetes-service-account" = "quantlake"
        }
      }
    }
    error_message = "Only the pipeline's service account in its namespace and cluster may assume the pipeline's role."
  }
}

run "settings_are_named" {
  command = plan

  assert {
    condition     = output.settings.QUANTLAKE_CATALOG_WAREHOUSE == "s3://acme-quantlake/lake" && strcontains(output.settings_env, "QUANTLAKE_CATALOG_TYPE=glue\n")
    error_message = "The outputs must carry the catalogue's settings."
  }
}

run "a_bucket_name_with_a_dot_is_refused" {
  command = plan

  variables {
    bucket_name = "acme.quantlake"
  }

  expect_failures = [var.bucket_name]
}
